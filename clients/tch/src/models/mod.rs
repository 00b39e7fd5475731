//! Models by name, the same as the Python client's: the same parameters under the same names,
//! drawn in the same order, and the same operations.

mod alexnet;
mod lenet;
mod steps;
mod vgg;
mod vgg_x;

use crate::error::RunError;
use steps::Builder;
pub use steps::Network;

/// What a model is made by, and the file that says so.
struct Model {
    name: &'static str,
    class: &'static str,
    source: &'static str,
    build: fn(&mut Builder, Shape) -> Result<(), RunError>,
}

/// Shape of one sample, and the number of classes.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Channels.
    pub channels: i64,
    /// Rows.
    pub height: i64,
    /// Columns.
    pub width: i64,
    /// Classes.
    pub classes: i64,
}

const ALEXNET: &str = include_str!("alexnet.rs");
const LENET: &str = include_str!("lenet.rs");
const VGG: &str = include_str!("vgg.rs");
const VGG_X: &str = include_str!("vgg_x.rs");

const MODELS: &[Model] = &[
    Model { name: "alexnet", class: "AlexNet", source: ALEXNET, build: alexnet::build },
    Model { name: "lenet", class: "LeNet", source: LENET, build: lenet::build },
    Model { name: "vgg-x", class: "VggX", source: VGG_X, build: vgg_x::build },
    Model { name: "vgg-x-det", class: "VggXDet", source: VGG_X, build: vgg_x::build_deterministic },
    Model { name: "vgg11", class: "Vgg11", source: VGG, build: vgg::build_11 },
    Model { name: "vgg16", class: "Vgg16", source: VGG, build: vgg::build_16 },
];

/// What the manifest says about a model.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// The name it was asked for by.
    pub name: &'static str,
    /// What the Python client calls it.
    pub class: &'static str,
    /// The file it is defined in.
    pub source: &'static str,
}

/// A network by its name, its parameters zero until they are drawn.
///
/// # Errors
/// [`RunError::Job`] when there is no such model or it does not take such samples.
pub fn build(name: &str, shape: Shape) -> Result<(Network, About), RunError> {
    let Some(model) = MODELS.iter().find(|model| model.name == name) else {
        let names: Vec<_> = MODELS.iter().map(|model| model.name).collect();
        return Err(RunError::Job(format!("no model {name:?}; there are {}", names.join(", "))));
    };
    let mut builder = Builder::new();
    (model.build)(&mut builder, shape)?;
    let about = About { name: model.name, class: model.class, source: model.source };
    Ok((builder.finish(), about))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tch::{Kind, Tensor};

    use super::*;

    fn shape(channels: i64, side: i64) -> Shape {
        Shape { channels, height: side, width: side, classes: 10 }
    }

    #[test]
    fn the_parameters_are_as_many_as_documented() {
        for (name, channels, side, expected) in [
            ("lenet", 1, 28, 431_080),
            ("vgg-x", 3, 32, 15_497_738),
            ("vgg-x-det", 3, 32, 15_497_738),
            ("alexnet", 3, 32, 57_044_810),
            ("vgg11", 3, 32, 128_807_306),
            ("vgg16", 3, 32, 134_301_514),
        ] {
            let (network, _) = build(name, shape(channels, side)).unwrap();
            let count: i64 = network.store().trainable_variables().iter().map(numel).sum();
            assert_eq!(count, expected, "{name}");
        }
        assert_eq!(MODELS.len(), 6);
    }

    fn numel(tensor: &Tensor) -> i64 {
        tensor.size().iter().product()
    }

    #[test]
    fn outputs_are_log_probabilities() {
        for (name, channels, side) in
            [("lenet", 1, 28), ("lenet", 3, 32), ("vgg-x", 3, 32), ("vgg-x-det", 3, 32)]
        {
            let (network, _) = build(name, shape(channels, side)).unwrap();
            tch::manual_seed(1);
            network.draw().unwrap();
            let x = Tensor::ones([2, channels, side, side], tch::kind::FLOAT_CPU);
            let y = network.forward(&x, false).unwrap();
            assert_eq!(y.size(), [2, 10]);
            let sums = y.exp().sum_dim_intlist(1, false, Kind::Float);
            assert!(f64::try_from((sums - 1.0).abs().max()).unwrap() < 1e-4, "{name}");
        }
    }

    #[test]
    fn parameters_have_pytorchs_names() {
        let (network, about) = build("vgg-x", shape(3, 32)).unwrap();
        let mut names: Vec<_> = network.store().variables().into_keys().collect();
        names.sort();
        let weights = ["classifier.0", "classifier.3", "classifier.6", "features.0", "features.2"];
        for (name, layer) in names.chunks(2).zip(weights) {
            assert_eq!(name, [format!("{layer}.bias"), format!("{layer}.weight")]);
        }
        assert_eq!(names.last().map(String::as_str), Some("features.5.weight"));
        assert_eq!(about.class, "VggX");
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (name, side, words) in [
            ("lenet5", 28, "there are alexnet, lenet"),
            ("lenet", 12, "at least 16 x 16, not 12 x 12"),
            ("vgg-x", 1, "at least 2 x 2"),
            ("vgg-x-det", 28, "not 14 x 14"),
        ] {
            let error = build(name, shape(1, side)).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
