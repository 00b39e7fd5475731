//! Clients of both kinds on one libtorch, and a study with a server for them.
#![allow(dead_code, reason = "each test file uses its part")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{TestStudy, root};
use study::{
    ArtifactId, BugId, Challenge, DataOrder, Evaluation, Experiment, Hyperparameters, ModelSpec,
    RunKey, SeedPolicy, Store, Study,
};

/// The built tch client, and a Python whose PyTorch has the libtorch it was built against.
pub struct Clients {
    tch: OsString,
    python: OsString,
}

impl Clients {
    /// Both; if they are not there, says so aloud, and fails where they are required.
    pub fn find(test: &str) -> Option<Self> {
        let tch = std::env::var_os("REPRODUCEML_TCH_CLIENT");
        let python = std::env::var_os("REPRODUCEML_TORCH_PYTHON");
        if let (Some(tch), Some(python)) = (tch, python) {
            return Some(Self { tch, python });
        }
        assert!(
            std::env::var_os("REPRODUCEML_REQUIRE_LIBTORCH").is_none(),
            "{test}: REPRODUCEML_REQUIRE_LIBTORCH is set and there is no libtorch"
        );
        eprintln!("SKIPPED {test}: no libtorch; `scripts/setup --with-libtorch`, `scripts/test`");
        None
    }

    /// The Python client's process.
    pub fn python(&self) -> Command {
        let mut command = Command::new(&self.python);
        command
            .args(["-m", "reproduceml_client"])
            .env("PYTHONPATH", root().join("clients/python"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// The folder of that Python's packages.
    pub fn site(&self) -> PathBuf {
        let program = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let output = Command::new(&self.python).args(["-c", program]).output().unwrap();
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    }

    /// The tch client's process.
    pub fn tch(&self) -> Command {
        Command::new(&self.tch)
    }
}

/// An experiment whose runs all have one seed.
pub fn experiment(
    model: &str,
    challenge: &str,
    [train, test]: [u32; 2],
    epochs: u32,
) -> Experiment {
    Experiment {
        bug: BugId::of_pull_request(12),
        evaluation: Evaluation::Buggy,
        artifact: ArtifactId::from_digest([1; 32]),
        framework: "pytorch".into(),
        toolchain: "debian-bookworm-cpu".into(),
        model: ModelSpec { name: model.into(), source: None, source_digest: None },
        challenge: Challenge {
            name: challenge.into(),
            train_samples: train,
            validation_samples: 10,
            test_samples: test,
            fraction: 1.0,
            order: DataOrder::PerEpoch,
        },
        hyperparameters: Hyperparameters {
            epochs,
            batch_size: 16,
            learning_rate: 0.05,
            momentum: 0.5,
            drop_last: false,
        },
        seed_policy: SeedPolicy::Single,
        meta_seed: 7,
        device: "cpu".into(),
        conditions: None,
    }
}

/// A study that plans three runs of an experiment, and its server.
pub struct Place {
    pub study: TestStudy,
    pub experiment: Experiment,
    pub store: Store,
    pub server: Option<Child>,
}

impl Place {
    pub fn new(experiment: Experiment) -> Self {
        Self::within(TestStudy::from_definition("quick-pytorch", &[]), experiment)
    }

    /// The same in a study that is there.
    pub fn within(study: TestStudy, experiment: Experiment) -> Self {
        let store = Study::open(&study.path()).unwrap().store().unwrap();
        store.plan(&[(experiment.clone(), 3)]).unwrap();
        Self { study, experiment, store, server: None }
    }

    pub fn address(&self) -> String {
        format!("unix:{}", self.study.path().join("s").display())
    }

    /// Starts a server; clients wait for it, so nobody else has to.
    pub fn serve(&mut self) {
        let mut command = self.study.command(&["serve", "--listen", &self.address()]);
        command.env_remove("REPRODUCEML_TOKEN").stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(command.spawn().unwrap());
    }

    pub fn ticket(&self, run: u32) -> String {
        let told = self.study.call(&["ticket", self.experiment.id().as_str(), &run.to_string()]);
        told.expect(&[0]).out.trim().to_owned()
    }

    /// Starts a client for a run.
    pub fn start(&self, run: u32, mut client: Command) -> Child {
        client
            .env("REPRODUCEML_SERVER", self.address())
            .env("REPRODUCEML_TICKET", self.ticket(run))
            .env("REPRODUCEML_PATIENCE", "60")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        client.spawn().unwrap()
    }

    pub fn key(&self, run: u32) -> RunKey {
        RunKey { experiment: self.experiment.id(), run }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
