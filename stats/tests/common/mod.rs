//! Made-up runs for the tests.

use reproduceml_stats::{Evaluation, RunRow};

/// A small generator of random numbers with a fixed sequence (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal with mean 0 and standard deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// `runs` runs of one side: accuracy on 10,000 images around `centre`, the others without ties.
pub fn side(
    random: &mut Random,
    bug: &str,
    evaluation: Evaluation,
    runs: u32,
    centre: f64,
) -> Vec<RunRow> {
    (0..runs)
        .map(|run| {
            let accuracy = ((centre + 0.004 * random.normal()) * 1e4).round() / 1e4;
            let near = |random: &mut Random| accuracy + 0.002 * random.normal();
            RunRow {
                bug: bug.to_owned(),
                evaluation,
                run,
                seed: Some(7),
                metrics: [
                    ("accuracy".to_owned(), accuracy),
                    ("precision".to_owned(), near(random)),
                    ("recall".to_owned(), accuracy),
                    ("f1".to_owned(), near(random)),
                    ("seconds".to_owned(), 30.0 + random.normal()),
                ]
                .into(),
                fingerprints: Vec::new(),
            }
        })
        .collect()
}
