//! `synthetic` can be learned, but not by a linear model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use reproduceml_server::challenge::permutation::{Generator, permutation};
use reproduceml_server::challenge::pool::Pool;
use reproduceml_server::challenge::synthetic::{self, Part};

const SIDE: usize = 28;
const CLASSES: usize = 10;
const FILTERS: usize = 10;
const KERNEL: usize = 5;
const STEP: usize = 3;
/// Places of a filter along one side.
const PLACES: usize = (SIDE - KERNEL) / STEP + 1;

fn small(generator: &mut Generator, scale: f32) -> f32 {
    (generator.below(2001) as f32 / 1000.0 - 1.0) * scale
}

fn sample(pool: &Pool, at: usize) -> Vec<f32> {
    let pixels = &pool.pixels[at * SIDE * SIDE..(at + 1) * SIDE * SIDE];
    pixels.iter().map(|p| (f32::from(*p) / 255.0 - 0.5) / 0.25).collect()
}

/// A linear layer with softmax, and the gradient of its loss for its input.
struct Linear {
    weights: Vec<f32>,
    inputs: usize,
}

impl Linear {
    fn scores(&self, x: &[f32]) -> Vec<f32> {
        let rows = self.weights.chunks(self.inputs + 1);
        rows.map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>() + row[self.inputs])
            .collect()
    }

    /// One step on one sample; returns the gradient for `x`.
    fn step(&mut self, x: &[f32], label: u8, rate: f32) -> Vec<f32> {
        let mut errors = self.scores(x);
        let largest = errors.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        errors.iter_mut().for_each(|s| *s = (*s - largest).exp());
        let sum: f32 = errors.iter().sum();
        errors.iter_mut().for_each(|s| *s /= sum);
        errors[usize::from(label)] -= 1.0;
        let mut back = vec![0.0; self.inputs];
        for (row, error) in self.weights.chunks_mut(self.inputs + 1).zip(errors) {
            for ((weight, x), back) in row.iter_mut().zip(x).zip(&mut back) {
                *back += *weight * error;
                *weight -= rate * error * x;
            }
            row[self.inputs] -= rate * error;
        }
        back
    }
}

fn best(scores: &[f32]) -> usize {
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap()
}

/// Filters of 5 × 5, ReLU, mean over all places.
struct Convolution(Vec<[f32; KERNEL * KERNEL]>);

impl Convolution {
    /// For each filter its feature and, for the gradient, the sum of the patches it fires on.
    fn features(&self, x: &[f32]) -> (Vec<f32>, Vec<[f32; KERNEL * KERNEL]>) {
        let mut features = vec![0.0; FILTERS];
        let mut fired = vec![[0.0; KERNEL * KERNEL]; FILTERS];
        let share = 1.0 / (PLACES * PLACES) as f32;
        for place in 0..PLACES * PLACES {
            let start = (place / PLACES * SIDE + place % PLACES) * STEP;
            let mut patch = [0.0; KERNEL * KERNEL];
            for (row, to) in patch.chunks_mut(KERNEL).enumerate() {
                to.copy_from_slice(&x[start + row * SIDE..][..KERNEL]);
            }
            for ((filter, feature), fired) in self.0.iter().zip(&mut features).zip(&mut fired) {
                let sum: f32 = filter.iter().zip(&patch).map(|(w, x)| w * x).sum();
                if sum > 0.0 {
                    *feature += sum * share;
                    fired.iter_mut().zip(&patch).for_each(|(f, x)| *f += x * share);
                }
            }
        }
        (features, fired)
    }
}

#[test]
fn a_small_network_learns_what_a_linear_model_cannot() {
    let train = synthetic::generate(synthetic::SEED, Part::Train, 600, 1, 28);
    let test = synthetic::generate(synthetic::SEED, Part::Test, 300, 1, 28);
    let xs: Vec<_> = (0..600).map(|at| sample(&train, at)).collect();
    let tests: Vec<_> = (0..300).map(|at| sample(&test, at)).collect();
    let mut chance = Generator::new("weights", &[]);
    let mut linear =
        Linear { weights: vec![0.0; CLASSES * (SIDE * SIDE + 1)], inputs: SIDE * SIDE };
    let weights = (0..CLASSES * (FILTERS + 1)).map(|_| small(&mut chance, 0.3)).collect();
    let mut top = Linear { weights, inputs: FILTERS };
    let filter = |_| std::array::from_fn(|_| small(&mut chance, 0.35));
    let mut filters = Convolution((0..FILTERS).map(filter).collect());
    let (mut linear_best, mut network_best) = (0.0_f32, 0.0_f32);
    for epoch in 0..12 {
        for at in permutation("learn", &[epoch], 600) {
            let (x, label) = (&xs[at as usize], train.labels[at as usize]);
            linear.step(x, label, 0.0005);
            let (features, fired) = filters.features(x);
            let back = top.step(&features, label, 0.1);
            for ((filter, fired), back) in filters.0.iter_mut().zip(fired).zip(back) {
                filter.iter_mut().zip(fired).for_each(|(w, x)| *w -= 0.1 * back * x);
            }
        }
        let share = |right: usize| right as f32 / tests.len() as f32;
        let right = |guess: &dyn Fn(&[f32]) -> usize| {
            tests.iter().zip(&test.labels).filter(|(x, y)| guess(x) == usize::from(**y)).count()
        };
        linear_best = linear_best.max(share(right(&|x| best(&linear.scores(x)))));
        let guess = |x: &[f32]| best(&top.scores(&filters.features(x).0));
        network_best = network_best.max(share(right(&guess)));
    }
    eprintln!("linear {linear_best}, network {network_best}");
    assert!(linear_best < 0.5, "the best of a linear model is {linear_best}");
    assert!(network_best > 0.7, "the best of a small network is {network_best}");
}
