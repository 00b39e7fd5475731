//! A study in a temporary folder, and processes of the Python client.
#![allow(dead_code, reason = "each test uses its own part")]

pub mod client;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use reproduceml_server::{Listen, Server, ServerConfig, ServerHandle};
use study::{
    ArtifactId, BugId, Challenge, DataOrder, Evaluation, Experiment, Hyperparameters, ModelSpec,
    RunKey, SeedPolicy, Store, Study,
};

const STUDY: &str = r#"
[study]
name = "example"
meta_seed = 1

[framework]
name = "tinynn"
repository = "tinynn/tinynn"

[build]
toolchain = "debian-bookworm-tinynn"
strategy = "source"

[challenge]
name = "synthetic"
train_samples = 100

[model]
name = "mlp"

[run]
runs = 10
epochs = 2
batch_size = 16
learning_rate = 0.1
momentum = 0.5
seed_policy = "per-run"
"#;

/// An experiment on a small synthetic challenge.
pub fn experiment(evaluation: Evaluation) -> Experiment {
    Experiment {
        bug: BugId::of_pull_request(12),
        evaluation,
        artifact: ArtifactId::from_digest([1; 32]),
        framework: "tinynn".into(),
        toolchain: "debian-bookworm-tinynn".into(),
        model: ModelSpec { name: "mlp".into(), source: None, source_digest: None },
        challenge: Challenge {
            name: "synthetic".into(),
            train_samples: 40,
            validation_samples: 10,
            test_samples: 20,
            fraction: 1.0,
            order: DataOrder::PerEpoch,
        },
        hyperparameters: Hyperparameters {
            epochs: 3,
            batch_size: 16,
            learning_rate: 0.1,
            momentum: 0.5,
            drop_last: false,
        },
        seed_policy: SeedPolicy::PerRun,
        meta_seed: 7,
        device: "cpu".into(),
        conditions: None,
    }
}

pub struct Place {
    pub folder: tempfile::TempDir,
    pub study: Arc<Study>,
    pub store: Arc<Store>,
}

impl Place {
    /// A study in which `experiments` are planned.
    pub fn new(experiments: &[Experiment]) -> Self {
        Self::within(tempfile::tempdir().unwrap(), experiments)
    }

    /// The same in a folder that is there.
    pub fn within(folder: tempfile::TempDir, experiments: &[Experiment]) -> Self {
        std::fs::write(folder.path().join("study.toml"), STUDY).unwrap();
        let study = Arc::new(Study::open(folder.path()).unwrap());
        let store = Arc::new(study.store().unwrap());
        let planned: Vec<_> = experiments.iter().map(|e| (e.clone(), 10)).collect();
        store.plan(&planned).unwrap();
        Self { folder, study, store }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn config(&self) -> ServerConfig {
        let mut config = ServerConfig::loopback(self.path().join("data"));
        config.listen.push(Listen::Unix(self.path().join("server.sock")));
        config
    }

    pub async fn serve(&self, config: ServerConfig) -> ServerHandle {
        Server::start(Arc::clone(&self.store), Arc::clone(&self.study), config).await.unwrap()
    }
}

pub fn key(experiment: &Experiment, run: u32) -> RunKey {
    RunKey { experiment: experiment.id(), run }
}

/// A certificate or key of `tests/tls/`.
pub fn pem(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// Starts `tests/clients/<script>` with the Python client on its path.
pub fn python(script: &str, arguments: &[&str]) -> Child {
    python_with(script, arguments, &[])
}

/// The same with further environment.
pub fn python_with(script: &str, arguments: &[&str], environment: &[(&str, String)]) -> Child {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let client: PathBuf = here.join("../clients/python");
    Command::new(std::env::var("PYTHON").unwrap_or_else(|_| "python3".into()))
        .arg(here.join("tests/clients").join(script))
        .args(arguments)
        .env("PYTHONPATH", client)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tests need python3")
}

/// What a client printed, once it ended well.
pub async fn output(child: Child) -> String {
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap();
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
