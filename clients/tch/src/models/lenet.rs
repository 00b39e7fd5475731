//! LeNet, the MNIST network of the paper's system.

use super::Shape;
use super::steps::{Builder, Draw, power};
use crate::error::RunError;

/// Two convolutions (20 and 50 of 5 × 5), each with ReLU and max-pooling, and two linear layers;
/// 431,080 parameters for 1 × 28 × 28 and 10 classes. Weights of conv1, conv2, fc1, fc2 from
/// N(0, 1 / fan-in), in this order; biases zero.
pub fn build(network: &mut Builder, shape: Shape) -> Result<(), RunError> {
    let after = |side: i64| ((side - 4).div_euclid(2) - 4).div_euclid(2);
    let (rows, columns) = (after(shape.height), after(shape.width));
    if rows < 1 || columns < 1 {
        return Err(RunError::Job(format!(
            "lenet takes images of at least 16 x 16, not {} x {}",
            shape.height, shape.width
        )));
    }
    let draw = |fan_in: i64| Draw::Normal(power(fan_in as f64, -0.5));
    let channels = shape.channels;
    network.convolution(Some("conv1"), [20, channels, 5], [1, 0], draw(channels * 25))?;
    network.relu();
    network.max_pool(2, 2);
    network.convolution(Some("conv2"), [50, 20, 5], [1, 0], draw(20 * 25))?;
    network.relu();
    network.max_pool(2, 2);
    network.flatten();
    let features = 50 * rows * columns;
    network.linear(Some("fc1"), [500, features], draw(features))?;
    network.relu();
    network.linear(Some("fc2"), [shape.classes, 500], draw(500))?;
    network.log_softmax();
    Ok(())
}
