//! The published permutation: Fisher-Yates with SplitMix64 and unbiased bounded draws.
//!
//! Splits and orders must be the same on every machine and in every language for ever, so nothing
//! here comes from a library whose generator might change:
//! * the state starts as the first 8 bytes, big-endian, of `SHA-256(label ‖ 0x00 ‖ parts…)`, each
//!   part a `u64` big-endian;
//! * a draw is SplitMix64 (Steele, Lea, Flood: *Fast splittable pseudorandom number generators*,
//!   OOPSLA 2014, with the constants of its reference implementation);
//! * a draw below `n` takes draws until one is below the largest multiple of `n` that 64 bits
//!   hold, then its remainder by `n`;
//! * Fisher-Yates goes from the last place down: `swap(i, below(i + 1))` for `i = n-1 … 1`.

use sha2::{Digest, Sha256};

/// SplitMix64, started from a label and numbers.
#[derive(Debug, Clone)]
pub struct Generator {
    state: u64,
}

impl Generator {
    /// The generator for a purpose (`label`) and the numbers that tell its uses apart.
    pub fn new(label: &str, parts: &[u64]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(label.as_bytes());
        hasher.update([0]);
        for part in parts {
            hasher.update(part.to_be_bytes());
        }
        let state = hasher.finalize().iter().take(8).fold(0, |s, b| (s << 8) | u64::from(*b));
        Self { state }
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, each equally likely; 0 when `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // 2^64 mod bound; draws from 2^64 minus that on would favour small numbers.
        let Some(excess) = (u64::MAX).checked_rem(bound).map(|r| (r + 1) % bound) else {
            return 0;
        };
        loop {
            let draw = self.draw();
            if excess == 0 || draw < 0_u64.wrapping_sub(excess) {
                return draw % bound;
            }
        }
    }
}

/// The permutation of `0..count` for a purpose and its numbers.
pub fn permutation(label: &str, parts: &[u64], count: u32) -> Vec<u32> {
    let mut generator = Generator::new(label, parts);
    let mut places: Vec<u32> = (0..count).collect();
    for i in (1..places.len()).rev() {
        let bound = u64::try_from(i).unwrap_or(u64::MAX) + 1;
        // Below a bound that came from a usize, so it fits one.
        let j = usize::try_from(generator.below(bound)).unwrap_or(i);
        places.swap(i, j);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // The first outputs of the reference SplitMix64 for the state 1234567.
        let mut generator = Generator { state: 1_234_567 };
        let drawn: Vec<u64> = (0..3).map(|_| generator.draw()).collect();
        assert_eq!(drawn, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn draws_below_a_bound_are_even() {
        let mut generator = Generator::new("test", &[1]);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[usize::try_from(generator.below(7)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|n| n.abs_diff(10_000) < 500), "{counts:?}");
        assert_eq!(generator.below(0), 0);
        assert_eq!(generator.below(1), 0);
        assert!(generator.below(u64::MAX) < u64::MAX);
    }

    #[test]
    fn the_ends_of_the_range_work() {
        assert_eq!(permutation("x", &[], 0), Vec::<u32>::new());
        assert_eq!(permutation("x", &[], 1), [0]);
    }
}
