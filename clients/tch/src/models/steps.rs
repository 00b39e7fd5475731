//! A network as a list of steps, and how its weights are drawn.

use tch::nn::{Path, VarStore};
use tch::{Device, Kind, TchError, Tensor};

/// One operation of a forward pass.
#[derive(Debug)]
enum Step {
    Convolution { layer: Layer, stride: i64, padding: i64 },
    Linear(Layer),
    Relu,
    MaxPool { window: i64, stride: i64 },
    AveragePool { window: [i64; 2], stride: [i64; 2] },
    AdaptiveAveragePool(i64),
    Enlarge(i64),
    Flatten,
    Dropout,
    LogSoftmax,
}

/// What a layer with weights has.
#[derive(Debug)]
struct Layer {
    weight: Tensor,
    bias: Tensor,
    draw: Draw,
}

/// How a layer's weights are drawn.
#[derive(Debug, Clone, Copy)]
pub enum Draw {
    /// The weight from N(0, this²), zero biases.
    Normal(f64),
    /// The weight, then the bias, uniformly between minus this and this.
    Uniform(f64),
}

/// `base` to the power of `exponent`, by the C library as Python does it: the compiler's shorter
/// ways (a square root) may end in another last bit.
pub fn power(base: f64, exponent: f64) -> f64 {
    std::hint::black_box(base).powf(std::hint::black_box(exponent))
}

/// A network with its parameters.
#[derive(Debug)]
pub struct Network {
    store: VarStore,
    steps: Vec<Step>,
}

impl Network {
    /// Its parameters by name.
    pub fn store(&self) -> &VarStore {
        &self.store
    }

    /// Draws all weights, layer by layer in the order of the steps.
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn draw(&self) -> Result<(), TchError> {
        tch::no_grad(|| {
            for step in &self.steps {
                let (Step::Convolution { layer, .. } | Step::Linear(layer)) = step else {
                    continue;
                };
                // In-place operations change the tensor that both names share.
                let mut weight = layer.weight.shallow_clone();
                let mut bias = layer.bias.shallow_clone();
                match layer.draw {
                    Draw::Normal(deviation) => {
                        let _ = weight.f_normal_(0.0, deviation)?;
                        let _ = bias.f_zero_()?;
                    }
                    Draw::Uniform(bound) => {
                        let _ = weight.f_uniform_(-bound, bound)?;
                        let _ = bias.f_uniform_(-bound, bound)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Log-probabilities (N × classes) of a batch (N × channels × height × width).
    ///
    /// # Errors
    /// If libtorch refuses.
    pub fn forward(&self, x: &Tensor, train: bool) -> Result<Tensor, TchError> {
        let mut x = x.shallow_clone();
        for step in &self.steps {
            x = step.apply(&x, train)?;
        }
        Ok(x)
    }
}

impl Step {
    fn apply(&self, x: &Tensor, train: bool) -> Result<Tensor, TchError> {
        match self {
            Self::Convolution { layer, stride, padding } => {
                let (stride, padding) = ([*stride; 2], [*padding; 2]);
                x.f_conv2d(&layer.weight, Some(&layer.bias), stride, padding, [1, 1], 1)
            }
            Self::Linear(layer) => x.f_linear(&layer.weight, Some(&layer.bias)),
            Self::Relu => x.f_relu(),
            Self::MaxPool { window, stride } => {
                x.f_max_pool2d([*window; 2], [*stride; 2], [0, 0], [1, 1], false)
            }
            Self::AveragePool { window, stride } => {
                x.f_avg_pool2d(window, stride, [0, 0], false, true, None)
            }
            Self::AdaptiveAveragePool(side) => x.f_adaptive_avg_pool2d([*side; 2]),
            Self::Enlarge(side) => x.f_upsample_nearest2d([*side; 2], None, None),
            Self::Flatten => x.f_reshape([x.size().first().copied().unwrap_or(0), -1]),
            Self::Dropout => x.f_dropout(0.5, train),
            Self::LogSoftmax => x.f_log_softmax(1, None::<Kind>),
        }
    }
}

/// Puts a network together, one step after the other.
#[derive(Debug)]
pub struct Builder {
    network: Network,
    section: &'static str,
    place: usize,
}

impl Builder {
    /// No steps yet.
    pub fn new() -> Self {
        let network = Network { store: VarStore::new(Device::Cpu), steps: Vec::new() };
        Self { network, section: "", place: 0 }
    }

    /// Further steps are numbered from 0 in this section, as in PyTorch's `Sequential`.
    pub fn section(&mut self, name: &'static str) {
        (self.section, self.place) = (name, 0);
    }

    /// A layer of that name with both tensors zero; without a name, the place in the section.
    fn layer(&self, name: Option<&str>, dims: &[i64], draw: Draw) -> Result<Layer, TchError> {
        let root = self.network.store.root();
        let path: Path<'_> = match name {
            Some(name) => root / name,
            None => root / self.section / self.place,
        };
        let outputs = dims.first().copied().unwrap_or(0);
        let weight = path.f_zeros("weight", dims)?;
        let bias = path.f_zeros("bias", &[outputs])?;
        Ok(Layer { weight, bias, draw })
    }

    fn push(&mut self, step: Step) {
        self.network.steps.push(step);
        self.place += 1;
    }

    /// A convolution, outputs × inputs × window × window.
    ///
    /// # Errors
    /// If libtorch has no room for its weights.
    pub fn convolution(
        &mut self,
        name: Option<&str>,
        [outputs, inputs, window]: [i64; 3],
        [stride, padding]: [i64; 2],
        draw: Draw,
    ) -> Result<(), TchError> {
        let layer = self.layer(name, &[outputs, inputs, window, window], draw)?;
        self.push(Step::Convolution { layer, stride, padding });
        Ok(())
    }

    /// A linear layer, outputs × inputs.
    ///
    /// # Errors
    /// If libtorch has no room for its weights.
    pub fn linear(
        &mut self,
        name: Option<&str>,
        dims: [i64; 2],
        draw: Draw,
    ) -> Result<(), TchError> {
        let layer = self.layer(name, &dims, draw)?;
        self.push(Step::Linear(layer));
        Ok(())
    }

    /// max(x, 0).
    pub fn relu(&mut self) {
        self.push(Step::Relu);
    }

    /// The largest of each window.
    pub fn max_pool(&mut self, window: i64, stride: i64) {
        self.push(Step::MaxPool { window, stride });
    }

    /// The mean of each window (rows × columns).
    pub fn average_pool(&mut self, window: [i64; 2], stride: [i64; 2]) {
        self.push(Step::AveragePool { window, stride });
    }

    /// Means of windows that make side × side of any size.
    pub fn adaptive_average_pool(&mut self, side: i64) {
        self.push(Step::AdaptiveAveragePool(side));
    }

    /// Images enlarged to side × side by repeating pixels.
    pub fn enlarge(&mut self, side: i64) {
        self.push(Step::Enlarge(side));
    }

    /// All dimensions but the first become one.
    pub fn flatten(&mut self) {
        self.push(Step::Flatten);
    }

    /// While training, zeroes half of the values and doubles the others.
    pub fn dropout(&mut self) {
        self.push(Step::Dropout);
    }

    /// Logarithms of probabilities over the classes.
    pub fn log_softmax(&mut self) {
        self.push(Step::LogSoftmax);
    }

    /// The network.
    pub fn finish(self) -> Network {
        self.network
    }
}
