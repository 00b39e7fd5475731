//! VGG-X, the paper's network for CIFAR-10.

use super::Shape;
use super::steps::{Builder, Draw, power};
use crate::error::RunError;

/// Side of the features after pooling.
const POOLED: i64 = 5;

/// Convolutions of 64, 256, max-pooling, 512, adaptive average pooling to 5 × 5, three linear
/// layers; 15,497,738 parameters for 3 × 32 × 32 and 10 classes. Weights in the order of the
/// layers: convolutions from N(0, 2 / fan-out) (Kaiming), linear layers from N(0, 0.01²); biases
/// zero.
pub fn build(network: &mut Builder, shape: Shape) -> Result<(), RunError> {
    features(network, shape)?;
    network.adaptive_average_pool(POOLED);
    classifier(network, shape)
}

/// The same with plain average pooling, whose backward pass is deterministic on CUDA as well. For
/// sizes at which no windows of one size do the same as the adaptive one, it is refused.
pub fn build_deterministic(network: &mut Builder, shape: Shape) -> Result<(), RunError> {
    let (rows, columns) = (shape.height.div_euclid(2), shape.width.div_euclid(2));
    let (Some(down), Some(across)) = (uniform_window(rows), uniform_window(columns)) else {
        return Err(RunError::Job(format!(
            "vgg-x-det needs windows of one size: features of 16 x 16 (images of 32 x 32) or a \
             multiple of 5, not {rows} x {columns}"
        )));
    };
    features(network, shape)?;
    network.average_pool([down.0, across.0], [down.1, across.1]);
    classifier(network, shape)
}

fn features(network: &mut Builder, shape: Shape) -> Result<(), RunError> {
    if shape.height.min(shape.width) < 2 {
        return Err(RunError::Job(format!(
            "vgg-x takes images of at least 2 x 2, not {} x {}",
            shape.height, shape.width
        )));
    }
    network.section("features");
    let mut inputs = shape.channels;
    for outputs in [64, 256, 512] {
        if outputs == 512 {
            network.max_pool(2, 2);
        }
        let draw = Draw::Normal(power(2.0 / (outputs * 9) as f64, 0.5));
        network.convolution(None, [outputs, inputs, 3], [1, 1], draw)?;
        network.relu();
        inputs = outputs;
    }
    Ok(())
}

fn classifier(network: &mut Builder, shape: Shape) -> Result<(), RunError> {
    network.flatten();
    network.section("classifier");
    for inputs in [512 * POOLED * POOLED, 1024] {
        network.linear(None, [1024, inputs], Draw::Normal(0.01))?;
        network.relu();
        network.dropout();
    }
    network.linear(None, [shape.classes, 1024], Draw::Normal(0.01))?;
    network.log_softmax();
    Ok(())
}

/// Window and stride that equal adaptive pooling of `size` to [`POOLED`], if there are such.
fn uniform_window(size: i64) -> Option<(i64, i64)> {
    let start = |index: i64| index * size / POOLED;
    let end = |index: i64| ((index + 1) * size + POOLED - 1) / POOLED;
    let (window, stride) = (end(0) - start(0), start(1) - start(0));
    let uniform = (0..POOLED)
        .all(|index| start(index) == index * stride && end(index) == start(index) + window);
    (uniform && stride > 0).then_some((window, stride))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_those_of_adaptive_pooling() {
        assert_eq!(uniform_window(16), Some((4, 3)));
        assert_eq!(uniform_window(15), Some((3, 3)));
        assert_eq!(uniform_window(14), None);
        assert_eq!(uniform_window(0), None);
    }
}
