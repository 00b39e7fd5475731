//! VGG-11 and VGG-16 with the shapes of Torchvision's `vgg11` and `vgg16`.
//!
//! Images are enlarged to 224 × 224 by repeating pixels. There the features are 7 × 7 already, and
//! Torchvision's adaptive pooling to 7 × 7 changes nothing; it is left out.

use super::Shape;
use super::steps::{Builder, Draw, power};
use crate::error::RunError;

/// Side of the enlarged images.
const SIDE: i64 = 224;

/// 128,807,306 parameters for 3 channels and 10 classes.
pub fn build_11(network: &mut Builder, shape: Shape) -> Result<(), RunError> {
    build(network, shape, &[&[64], &[128], &[256, 256], &[512, 512], &[512, 512]])
}

/// 134,301,514 parameters for 3 channels and 10 classes.
pub fn build_16(network: &mut Builder, shape: Shape) -> Result<(), RunError> {
    let plan: [&[i64]; 5] =
        [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];
    build(network, shape, &plan)
}

/// `plan` has the outputs of the convolutions of each block; max-pooling ends a block. Weights in
/// the order of the layers: convolutions from N(0, 2 / fan-out), linear layers from N(0, 0.01²);
/// biases zero.
fn build(network: &mut Builder, shape: Shape, plan: &[&[i64]]) -> Result<(), RunError> {
    network.enlarge(SIDE);
    network.section("features");
    let mut inputs = shape.channels;
    for block in plan {
        for outputs in *block {
            let draw = Draw::Normal(power(2.0 / (outputs * 9) as f64, 0.5));
            network.convolution(None, [*outputs, inputs, 3], [1, 1], draw)?;
            network.relu();
            inputs = *outputs;
        }
        network.max_pool(2, 2);
    }
    network.flatten();
    network.section("classifier");
    for inputs in [512 * 7 * 7, 4096] {
        network.linear(None, [4096, inputs], Draw::Normal(0.01))?;
        network.relu();
        network.dropout();
    }
    network.linear(None, [shape.classes, 4096], Draw::Normal(0.01))?;
    network.log_softmax();
    Ok(())
}
