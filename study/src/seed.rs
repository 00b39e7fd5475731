//! The published function that derives every seed of a study.
//!
//! `seed = u32_be(SHA-256("reproduceml/seed/v1" ‖ 0x00 ‖ meta_seed as u64 big-endian ‖ key ‖ 0x00 ‖
//! run as u32 big-endian)[0..4])`, where `key` is the experiment's pair key: its attributes
//! without evaluation and artifact. Both sides of a bug therefore share their seeds. Seeds have 32
//! bits since NumPy takes no more.

use sha2::{Digest, Sha256};

use crate::SeedPolicy;

/// The seed of run `run` of the experiments with `pair_key`; under [`SeedPolicy::Single`] every
/// run has the seed of run 0.
pub fn derive(meta_seed: u64, pair_key: &str, policy: SeedPolicy, run: u32) -> u32 {
    let index = seed_index(policy, run);
    let mut hasher = Sha256::new();
    hasher.update(b"reproduceml/seed/v1\0");
    hasher.update(meta_seed.to_be_bytes());
    hasher.update(pair_key.as_bytes());
    hasher.update([0]);
    hasher.update(index.to_be_bytes());
    let digest = hasher.finalize();
    digest.iter().take(4).fold(0, |seed, byte| (seed << 8) | u32::from(*byte))
}

/// Which seed run `run` uses.
pub fn seed_index(policy: SeedPolicy, run: u32) -> u32 {
    match policy {
        SeedPolicy::Single => 0,
        SeedPolicy::PerRun => run,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_function_does_not_move() {
        // Computed with Python: hashlib.sha256(b"reproduceml/seed/v1\0" + (42).to_bytes(8, "big")
        //   + b"key\0" + (3).to_bytes(4, "big")).hexdigest()[:8]
        assert_eq!(derive(42, "key", SeedPolicy::PerRun, 3), SEED_42_KEY_3);
        assert_eq!(
            derive(42, "key", SeedPolicy::Single, 3),
            derive(42, "key", SeedPolicy::PerRun, 0)
        );
    }

    const SEED_42_KEY_3: u32 = 0x1192a05a;
}
