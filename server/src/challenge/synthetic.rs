//! The `synthetic` challenge: ten kinds of stripes, made by the server, needing no download.
//!
//! A sample's class is the direction (five) and width (two) of its stripes; where the stripes lie
//! is random, so the mean image of a class is nearly flat and a linear model learns little, while
//! two convolutions see the class at once. A faint patch whose place hints at the class and noise
//! on every pixel make learning gradual. Everything is integer arithmetic on [`Generator`], so the
//! bytes are the same on every machine; each sample has its own generator, so a smaller set is the
//! beginning of a larger one.

use super::permutation::Generator;
use super::pool::Pool;

/// Number of classes.
pub const CLASSES: u8 = 10;

/// Seed of the pool that experiments are cut from; the challenge is one data set, not many.
pub const SEED: u64 = 1;

/// Phase per pixel, in 256ths of a stripe's period, along x and y: five directions for each of
/// two widths (periods of about 10 and 5.6 pixels).
const STRIPES: [(i32, i32); 10] = [
    (26, 0),
    (21, 15),
    (8, 25),
    (-8, 25),
    (-21, 15),
    (46, 0),
    (37, 27),
    (14, 44),
    (-14, 44),
    (-37, 27),
];

/// Height of the stripes' wave in grey levels: each sample has its own, from the faintest on.
const FAINTEST: i32 = 10;
/// How many heights there are.
const RANGE: u64 = 100;
/// The patch's brightness in grey levels.
const PATCH: i32 = 12;
/// Noise: the sum of four bytes less its mean, times this over 256 (a standard deviation of about
/// 23 grey levels).
const NOISE: i32 = 40;

/// Which part of the challenge samples belong to; each has its own generators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Training and validation.
    Train,
    /// Test.
    Test,
}

/// Makes `count` samples of `channels` × `side` × `side` bytes.
pub fn generate(seed: u64, part: Part, count: u32, channels: u32, side: u32) -> Pool {
    let area = side as usize * side as usize * channels as usize;
    let mut pixels = Vec::with_capacity(area * count as usize);
    let mut labels = Vec::with_capacity(count as usize);
    let part = match part {
        Part::Train => 0,
        Part::Test => 1,
    };
    for index in 0..count {
        let parts = [seed, part, u64::from(index), u64::from(channels), u64::from(side)];
        let mut generator = Generator::new("reproduceml/synthetic/v1", &parts);
        labels.push(sample(&mut generator, channels, side, &mut pixels));
    }
    Pool { shape: [channels, side, side], classes: CLASSES, pixels, labels }
}

fn sample(generator: &mut Generator, channels: u32, side: u32, pixels: &mut Vec<u8>) -> u8 {
    let mut below = |bound: u64| i32::try_from(generator.below(bound)).unwrap_or(0);
    let class = below(u64::from(CLASSES));
    let phase = below(256);
    let amplitude = FAINTEST + below(RANGE);
    let side = i32::try_from(side).unwrap_or(0);
    // The patch's centre: a lattice of five columns and two rows, up to two pixels off.
    let column = side * (2 * (class % 5) + 1) / 10 + below(5) - 2;
    let row = side * (4 * (class / 5) + 3) / 10 + below(5) - 2;
    let class = u8::try_from(class).unwrap_or(0);
    let (along_x, along_y) = STRIPES.get(usize::from(class)).copied().unwrap_or((0, 0));
    for _ in 0..channels {
        for y in 0..side {
            for x in 0..side {
                let stripes = triangle(x * along_x + y * along_y + phase) * amplitude / 64;
                let near = (x - column).abs().max((y - row).abs()) <= 2;
                let noise = four_bytes(generator) * NOISE / 256;
                let grey = 128 + stripes + if near { PATCH } else { 0 } + noise;
                pixels.push(u8::try_from(grey.clamp(0, 255)).unwrap_or(0));
            }
        }
    }
    class
}

/// A wave of period 256 between -64 and 64.
fn triangle(phase: i32) -> i32 {
    let phase = phase.rem_euclid(256);
    if phase < 128 { phase - 64 } else { 192 - phase }
}

/// The sum of the four lowest bytes of a draw, less their mean: between -510 and 510.
fn four_bytes(generator: &mut Generator) -> i32 {
    let [a, b, c, d, ..] = generator.draw().to_le_bytes();
    i32::from(a) + i32::from(b) + i32::from(c) + i32::from(d) - 510
}
