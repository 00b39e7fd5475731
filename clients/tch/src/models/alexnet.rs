//! AlexNet with the shapes of Torchvision's `alexnet`.

use super::Shape;
use super::steps::{Builder, Draw, power};
use crate::error::RunError;

/// Side of the enlarged images.
const SIDE: i64 = 224;

/// 57,044,810 parameters for 3 channels and 10 classes. Images are enlarged to 224 × 224 by
/// repeating pixels; Torchvision's pooling to 6 × 6 is left out, since the features are of that
/// size. In the order of the layers each draws its weight, then its bias, uniformly in
/// ±1/sqrt(fan-in), which is PyTorch's own default.
pub fn build(network: &mut Builder, shape: Shape) -> Result<(), RunError> {
    let draw = |fan_in: i64| Draw::Uniform(power(fan_in as f64, -0.5));
    network.enlarge(SIDE);
    network.section("features");
    // Outputs, window, stride, padding; whether pooling follows.
    let convolutions = [
        (64, 11, 4, 2, true),
        (192, 5, 1, 2, true),
        (384, 3, 1, 1, false),
        (256, 3, 1, 1, false),
        (256, 3, 1, 1, true),
    ];
    let mut inputs = shape.channels;
    for (outputs, window, stride, padding, pooled) in convolutions {
        let draw = draw(inputs * window * window);
        network.convolution(None, [outputs, inputs, window], [stride, padding], draw)?;
        network.relu();
        if pooled {
            network.max_pool(3, 2);
        }
        inputs = outputs;
    }
    network.flatten();
    network.section("classifier");
    for inputs in [256 * 6 * 6, 4096] {
        network.dropout();
        network.linear(None, [4096, inputs], draw(inputs))?;
        network.relu();
    }
    network.linear(None, [shape.classes, 4096], draw(4096))?;
    network.log_softmax();
    Ok(())
}
