//! Many asymptotic Mann-Whitney tests in a row, for simulations: the same numbers as
//! [`asymptotic`], without memory taken anew for each.

use crate::lanes::{LANES, Lanes, MOST, key};
use crate::mann_whitney::{Alternative, MannWhitney, asymptotic, asymptotic_of};
use crate::sample::SampleError;

/// Up to so many values in all, sorting by buckets beats sorting by comparisons.
const SMALL: usize = 256;
const BUCKETS: usize = 128;

/// Memory that tests share.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    keys: Vec<u64>,
    sorted: Vec<u64>,
    lanes: Lanes,
}

impl Batch {
    /// No tests yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`asymptotic`].
    ///
    /// # Errors
    /// Empty samples and values that are not finite.
    ///
    /// # Examples
    /// ```
    /// use reproduceml_stats::{batch::Batch, mann_whitney::Alternative};
    /// let mut batch = Batch::new();
    /// let test = batch.asymptotic(&[1.0, 2.0, 3.0], &[4.0, 5.0], Alternative::TwoSided, true);
    /// assert_eq!(test.unwrap().u, 0.0);
    /// ```
    pub fn asymptotic(
        &mut self,
        x: &[f64],
        y: &[f64],
        alternative: Alternative,
        continuity: bool,
    ) -> Result<MannWhitney, SampleError> {
        let finite = x.iter().chain(y).fold(true, |all, value| all & value.is_finite());
        self.keys.clear();
        self.keys.extend(x.iter().chain(y).map(|value| key(*value)));
        let low = self.keys.iter().copied().min().unwrap_or(0);
        let high = self.keys.iter().copied().max().unwrap_or(0);
        // The lowest bit is to hold the side. Odd input is left to the plain way.
        if x.is_empty() || y.is_empty() || !finite || high - low >= 1 << 63 {
            return asymptotic(x, y, alternative, continuity);
        }
        for (place, key) in self.keys.iter_mut().enumerate() {
            *key = (*key - low) << 1 | u64::from(place < x.len());
        }
        self.sort((high - low) << 1 | 1);
        let (doubled_sum, ties, groups) = rank(&self.sorted);
        let doubled_u = doubled_sum - (x.len() * (x.len() + 1)) as u64;
        let u = 0.5 * doubled_u as f64;
        Ok(asymptotic_of((x.len(), y.len()), u, (ties, groups == 1), alternative, continuity))
    }

    /// As [`asymptotic`] of each pair of samples, in their order. Fastest where many pairs in a row
    /// have the same sizes and at most 256 values a pair: then sixteen are computed at a time, if
    /// no pair has both signs, or 0 beside values of 2 and more.
    ///
    /// # Errors
    /// Empty samples and values that are not finite, of the first pair that has such.
    ///
    /// # Examples
    /// ```
    /// use reproduceml_stats::{batch::Batch, mann_whitney::Alternative};
    /// let (x, y) = ([0.71, 0.72, 0.74], [0.70, 0.72, 0.73]);
    /// let pairs = [(&x[..], &y[..]), (&y[..], &x[..])];
    /// let tests = Batch::new().asymptotic_all(&pairs, Alternative::TwoSided, true).unwrap();
    /// assert_eq!((tests[0].u, tests[1].u), (5.5, 3.5));
    /// assert_eq!(tests[0].p_value, tests[1].p_value);
    /// ```
    pub fn asymptotic_all(
        &mut self,
        pairs: &[(&[f64], &[f64])],
        alternative: Alternative,
        continuity: bool,
    ) -> Result<Vec<MannWhitney>, SampleError> {
        let mut tests = Vec::with_capacity(pairs.len());
        let sizes = |(x, y): &(&[f64], &[f64])| (x.len(), y.len());
        let alike = pairs.chunk_by(|a, b| sizes(a) == sizes(b));
        for block in alike.flat_map(|run| run.chunks(LANES)) {
            let (n, m) = block.first().map_or((0, 0), sizes);
            let few = block.len() < LANES / 4 || n == 0 || m == 0 || n + m > MOST;
            match if few { None } else { self.lanes.count(block) } {
                Some(counts) => tests.extend((0..block.len()).map(|lane| {
                    let (u, ties) = (0.5 * counts.doubled_u[lane], counts.ties[lane]);
                    let total = (n + m) as f64;
                    let constant = ties == total * (total * total - 1.0);
                    asymptotic_of((n, m), u, (ties, constant), alternative, continuity)
                })),
                None => {
                    for (x, y) in block {
                        tests.push(self.asymptotic(x, y, alternative, continuity)?);
                    }
                }
            }
        }
        Ok(tests)
    }

    fn sort(&mut self, high: u64) {
        let Self { keys, sorted, .. } = self;
        sorted.clear();
        sorted.extend_from_slice(keys);
        if keys.len() > SMALL {
            sorted.sort_unstable();
            return;
        }
        let shift = (64 - high.leading_zeros()).saturating_sub(BUCKETS.ilog2());
        let bucket = |key: u64| (key >> shift) as usize % BUCKETS;
        let mut ends = [0_u16; BUCKETS];
        for key in keys.iter() {
            ends[bucket(*key)] += 1;
        }
        let mut total = 0;
        for end in &mut ends {
            total += *end;
            *end = total;
        }
        for key in keys.iter() {
            let end = &mut ends[bucket(*key)];
            *end -= 1;
            sorted[usize::from(*end)] = *key;
        }
        // Only within buckets is anything out of order now.
        for place in 1..sorted.len() {
            let key = sorted[place];
            let mut to = place;
            while to > 0 && sorted[to - 1] > key {
                sorted[to] = sorted[to - 1];
                to -= 1;
            }
            sorted[to] = key;
        }
    }
}

/// Twice the midrank sum of the first sample, Σ(t³ − t), and the number of groups of equal values.
fn rank(sorted: &[u64]) -> (u64, f64, usize) {
    let (mut sum, mut ties, mut groups, mut start) = (0_u64, 0.0, 0, 0);
    while start < sorted.len() {
        let value = sorted[start] >> 1;
        let mut first = sorted[start] & 1;
        let mut end = start + 1;
        while end < sorted.len() && sorted[end] >> 1 == value {
            first += sorted[end] & 1;
            end += 1;
        }
        sum += first * (start + end + 1) as u64;
        if end - start > 1 {
            let size = (end - start) as f64;
            ties += size * size * size - size;
        }
        groups += 1;
        start = end;
    }
    (sum, ties, groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bits_as_one_at_a_time() {
        let mut batch = Batch::new();
        let mut state = 1_u64;
        let mut next = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % limit
        };
        for round in 0..3000 {
            let spread = [1, 3, 50, 1 << 30][round % 4];
            let mut sample = || -> Vec<f64> {
                let size = 1 + next(if round % 10 == 0 { 400 } else { 60 });
                let from = if round % 3 == 0 { -20.0 } else { 0.0 };
                (0..size).map(|_| from + next(spread) as f64 / 7.0).collect()
            };
            let (x, y) = (sample(), sample());
            for side in [Alternative::TwoSided, Alternative::Less, Alternative::Greater] {
                for continuity in [true, false] {
                    let one = asymptotic(&x, &y, side, continuity).unwrap();
                    assert_eq!(batch.asymptotic(&x, &y, side, continuity).unwrap(), one);
                }
            }
        }
        assert!(batch.asymptotic(&[], &[1.0], Alternative::TwoSided, true).is_err());
        assert!(batch.asymptotic(&[f64::NAN], &[1.0], Alternative::TwoSided, true).is_err());
        let zeros = batch.asymptotic(&[0.0, 1.0], &[-0.0, 2.0], Alternative::TwoSided, true);
        assert_eq!(zeros, asymptotic(&[0.0, 1.0], &[-0.0, 2.0], Alternative::TwoSided, true));
    }

    #[test]
    fn the_same_bits_as_one_at_a_time_when_many_are_given() {
        let mut batch = Batch::new();
        let mut state = 7_u64;
        let mut next = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % limit
        };
        for round in 0..400 {
            let spread = [1, 3, 50, 1 << 30][round % 4];
            let from = if round % 5 == 0 { -20.0 } else { 0.0 };
            let largest = if round % 10 == 0 { 200 } else { 60 };
            let (n, m) = (1 + next(largest), 1 + next(largest));
            let mut sample = |size: u64| -> Vec<f64> {
                (0..size).map(|_| from + next(spread) as f64 / 7.0).collect()
            };
            // Also an odd size in between.
            let samples: Vec<_> =
                (0..21).map(|i| (sample(n + u64::from(i == 18)), sample(m))).collect();
            let pairs: Vec<_> = samples.iter().map(|(x, y)| (&x[..], &y[..])).collect();
            for side in [Alternative::TwoSided, Alternative::Less] {
                let all = batch.asymptotic_all(&pairs, side, round % 2 == 0).unwrap();
                assert_eq!(all.len(), pairs.len());
                for ((x, y), test) in pairs.iter().zip(all) {
                    assert_eq!(test, asymptotic(x, y, side, round % 2 == 0).unwrap());
                }
            }
        }
        let empty: (&[f64], &[f64]) = (&[], &[1.0]);
        assert!(batch.asymptotic_all(&[empty; 20], Alternative::TwoSided, true).is_err());
        let odd: (&[f64], &[f64]) = (&[f64::NAN], &[1.0]);
        assert!(batch.asymptotic_all(&[odd; 20], Alternative::TwoSided, true).is_err());
    }
}
