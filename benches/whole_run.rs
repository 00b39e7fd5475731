//! The whole of a run, from the start of its process to accepted metrics, beside a plain PyTorch
//! script that does the same training: `cargo bench --workspace --profile dev --bench whole_run`.
//!
//! `REPRODUCEML_BENCH_IMAGE` names an image with PyTorch; without it `REPRODUCEML_TORCH_PYTHON` (or
//! `python3`) is used, and the tch client of `REPRODUCEML_TCH_CLIENT` where there is one.
//! `REPRODUCEML_BENCH_ROUNDS` (3): all variants take turns so often, and medians are printed.
//! `REPRODUCEML_BENCH_MODELS` (lenet,vgg-x). `REPRODUCEML_BENCH_EPOCHS`: other than the usual.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::process::{Child, Command, Stdio};

use common::{TestStudy, Told, root};
use study::{
    ArtifactId, BugId, Challenge, DataOrder, Evaluation, Experiment, Hyperparameters, ModelSpec,
    SeedPolicy, Study,
};

/// One training that is long enough to be typical of short ones: about a minute of one core.
#[derive(Clone)]
struct Training {
    model: &'static str,
    challenge: &'static str,
    channels: u32,
    side: u32,
    train: u32,
    test: u32,
    epochs: u32,
}

const TRAININGS: &[Training] = &[
    Training {
        model: "lenet",
        challenge: "synthetic",
        channels: 1,
        side: 28,
        train: 10_000,
        test: 2_000,
        epochs: 10,
    },
    Training {
        model: "vgg-x",
        challenge: "synthetic-cifar10",
        channels: 3,
        side: 32,
        train: 256,
        test: 64,
        epochs: 4,
    },
];

const BATCH: u32 = 64;

fn experiment(training: &Training) -> Experiment {
    Experiment {
        bug: BugId::of_pull_request(1),
        evaluation: Evaluation::Buggy,
        artifact: ArtifactId::from_digest([1; 32]),
        framework: "pytorch".into(),
        toolchain: "debian-bookworm-cpu".into(),
        model: ModelSpec { name: training.model.into(), source: None, source_digest: None },
        challenge: Challenge {
            name: training.challenge.into(),
            train_samples: training.train,
            validation_samples: 0,
            test_samples: training.test,
            fraction: 1.0,
            order: DataOrder::PerEpoch,
        },
        hyperparameters: Hyperparameters {
            epochs: training.epochs,
            batch_size: BATCH,
            learning_rate: 0.01,
            momentum: 0.5,
            drop_last: false,
        },
        seed_policy: SeedPolicy::Single,
        meta_seed: 1,
        device: "cpu".into(),
        conditions: None,
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Variant {
    Plain,
    Python,
    Tch,
}

/// A study with a server.
struct Place {
    study: TestStudy,
    experiment: Experiment,
    server: Child,
}

impl Place {
    fn new(training: &Training) -> Self {
        let study = TestStudy::from_definition("quick-pytorch", &[]);
        let experiment = experiment(training);
        let store = Study::open(&study.path()).unwrap().store().unwrap();
        store.plan(&[(experiment.clone(), 1000)]).unwrap();
        let socket = format!("unix:{}", study.path().join("s").display());
        let mut serve = study.command(&["serve", "--listen", &socket]);
        let server = serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { study, experiment, server }
    }

    /// Wall and processor seconds of one variant.
    fn run(&self, training: &Training, variant: Variant, run: u32) -> (f64, f64) {
        let image = std::env::var("REPRODUCEML_BENCH_IMAGE").ok();
        let python = std::env::var("REPRODUCEML_TORCH_PYTHON").unwrap_or("python3".into());
        let folder = self.study.path().display().to_string();
        let repository = root().display().to_string();
        let mut command = match &image {
            None => Command::new(&python),
            Some(image) => {
                let mut docker = Command::new("docker");
                docker.args(["run", "--rm", "--network", "none", "--tmpfs", "/tmp:exec"]);
                for path in [&folder, &repository] {
                    docker.args(["--volume", &format!("{path}:{path}")]);
                }
                for name in ["SERVER", "TICKET"] {
                    docker.args(["--env", &format!("REPRODUCEML_{name}")]);
                }
                docker.args(["--env", "PYTHONPATH", "--env", "PYTHONDONTWRITEBYTECODE"]);
                docker.args([image, "python3"]);
                docker
            }
        };
        let python = if image.is_some() { "python3".to_owned() } else { python };
        let benches = format!("{repository}/clients/python/benches");
        command.arg(format!("{benches}/measure.py"));
        if variant == Variant::Plain {
            let plain = format!("{benches}/plain_pytorch.py");
            command.args([&python, &plain, training.model]);
            for number in [training.train, training.test, training.epochs, BATCH] {
                command.arg(number.to_string());
            }
            command.args(["cpu", &training.channels.to_string(), &training.side.to_string()]);
        } else {
            let key = [self.experiment.id().as_str().to_owned(), run.to_string()];
            let ticket = self.study.call(&["ticket", &key[0], &key[1]]).expect(&[0]).out;
            command
                .env("REPRODUCEML_TICKET", ticket.trim())
                .env("REPRODUCEML_SERVER", format!("unix:{folder}/s"));
            if variant == Variant::Tch {
                command.arg(std::env::var_os("REPRODUCEML_TCH_CLIENT").unwrap());
            } else {
                command.args([&python, "-m", "reproduceml_client"]);
            }
        }
        let output = command
            .env("PYTHONPATH", format!("{repository}/clients/python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("OMP_NUM_THREADS", "1")
            .output()
            .unwrap();
        let told = Told::of(output).expect(&[0]);
        let last = told.out.lines().last().unwrap();
        let value: serde_json::Value = serde_json::from_str(last).unwrap();
        (value["wall"].as_f64().unwrap(), value["cpu"].as_f64().unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

fn main() {
    let number = |name: &str, otherwise: u32| {
        std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let rounds = number("REPRODUCEML_BENCH_ROUNDS", 3);
    let models = std::env::var("REPRODUCEML_BENCH_MODELS").unwrap_or("lenet,vgg-x".into());
    let mut variants = vec![Variant::Plain, Variant::Python];
    let in_image = std::env::var_os("REPRODUCEML_BENCH_IMAGE").is_some();
    if !in_image && std::env::var_os("REPRODUCEML_TCH_CLIENT").is_some() {
        variants.push(Variant::Tch);
    }
    for training in TRAININGS.iter().filter(|t| models.split(',').any(|name| name == t.model)) {
        let epochs = number("REPRODUCEML_BENCH_EPOCHS", training.epochs);
        let training = &Training { epochs, ..training.clone() };
        let place = Place::new(training);
        let mut seen: Vec<Vec<(f64, f64)>> = vec![Vec::new(); variants.len()];
        for round in 0..rounds {
            for (at, variant) in variants.iter().enumerate() {
                let run = round * variants.len() as u32 + at as u32;
                let (wall, cpu) = place.run(training, *variant, run);
                eprintln!("{} {variant:?}: {wall:.2} s, {cpu:.2} s of processor", training.model);
                seen[at].push((wall, cpu));
            }
        }
        let medians: Vec<(f64, f64)> = seen
            .into_iter()
            .map(|all| {
                let (walls, cpus) = all.into_iter().unzip();
                (median(walls), median(cpus))
            })
            .collect();
        for (variant, (wall, cpu)) in variants.iter().zip(&medians) {
            println!(
                "{} {variant:?}: wall {wall:.2} s ({:.3} of plain), processor {cpu:.2} s ({:.3})",
                training.model,
                wall / medians[0].0,
                cpu / medians[0].1
            );
        }
    }
}
