//! U and ties of many pairs of samples at once, one pair a lane.
//!
//! The processor compares several numbers with one instruction, but only where it need not branch.
//! So pairs of the same sizes stand side by side, each pooled, and all are sorted by one fixed list
//! of comparisons: a sorting network (Batcher, 1968, in the form of Knuth's Algorithm 5.2.2M, for
//! any size). Then one pass over the sorted values counts U and ties of all pairs.

/// Pairs side by side: few enough that 100 values of each stay in the fastest cache, and enough
/// that the compiler makes wide instructions of the loops over them.
pub(crate) const LANES: usize = 16;

/// The most values of a pair, both samples together. Networks grow as N log² N.
pub(crate) const MOST: usize = 256;

type Row = [f64; LANES];

/// Twice U, and Σ(t³ − t), of each lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) doubled_u: Row,
    pub(crate) ties: Row,
}

/// Memory for one block of pairs, and the network for its size.
#[derive(Debug, Clone)]
pub(crate) struct Lanes {
    rows: Box<[Row; MOST]>,
    /// Which rows are compared, in order.
    network: Vec<(u8, u8)>,
    total: usize,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { rows: Box::new([[0.0; LANES]; MOST]), network: Vec::new(), total: 0 }
    }
}

impl Lanes {
    /// Counts for up to [`LANES`] pairs of samples, all of the first pair's sizes, 2 to [`MOST`]
    /// values in all. Nothing where a value is not finite, or where a pair spans more than half of
    /// all numbers there are: both signs, or 0 beside 2.
    pub(crate) fn count(&mut self, pairs: &[(&[f64], &[f64])]) -> Option<Counts> {
        let (x, y) = pairs.first()?;
        let (n, total) = (x.len(), x.len() + y.len());
        if self.total != total {
            self.network = network(total);
            self.total = total;
        }
        // Lanes without a pair repeat the last one.
        let last = pairs.len() - 1;
        for lane in 0..LANES {
            let (x, y) = pairs[lane.min(last)];
            for (row, value) in self.rows.iter_mut().zip(x.iter().chain(y)) {
                row[lane] = *value;
            }
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: this processor has the instructions, as was just asked.
            return unsafe { wide(&mut self.rows, &self.network, n, total) };
        }
        plain(&mut self.rows, &self.network, n, total)
    }
}

/// As [`plain`], compiled for four numbers an instruction.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn wide(rows: &mut [Row; MOST], network: &[(u8, u8)], n: usize, total: usize) -> Option<Counts> {
    plain(rows, network, n, total)
}

#[inline(always)]
fn plain(rows: &mut [Row; MOST], network: &[(u8, u8)], n: usize, total: usize) -> Option<Counts> {
    mark(&mut rows[..total], n)?;
    for &(a, b) in network {
        if let Ok([low, high]) = rows.get_disjoint_mut([usize::from(a), usize::from(b)]) {
            for (low, high) in low.iter_mut().zip(high) {
                let (a, b) = (*low, *high);
                *low = if a < b { a } else { b };
                *high = if a > b { a } else { b };
            }
        }
    }
    Some(tally(&rows[..total]))
}

/// The pairs of rows that are to be compared to sort `total` of them.
fn network(total: usize) -> Vec<(u8, u8)> {
    let mut pairs = Vec::new();
    let mut p = 1;
    while p < total {
        let mut k = p;
        while k >= 1 {
            let mut j = k % p;
            while j + k < total {
                for i in j..j + k.min(total - j - k) {
                    if i / (2 * p) == (i + k) / (2 * p) {
                        pairs.push((i as u8, (i + k) as u8));
                    }
                }
                j += 2 * k;
            }
            k /= 2;
        }
        p *= 2;
    }
    pairs
}

/// A whole number that orders finite values as they are ordered; −0 and 0 have the same.
#[inline(always)]
pub(crate) fn key(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    let sign = 1 << 63;
    if bits & sign == 0 { bits | sign } else { !bits }
}

/// Puts in place of each value a positive number whose lowest bit says whether it is of the first
/// sample, and whose other bits are ordered, and are equal, as the values are.
#[inline(always)]
fn mark(rows: &mut [Row], n: usize) -> Option<()> {
    let (mut low, mut high) = (rows[0], rows[0]);
    let mut odd = [0.0; LANES];
    for row in &*rows {
        for lane in 0..LANES {
            let value = row[lane];
            low[lane] = if value < low[lane] { value } else { low[lane] };
            high[lane] = if value > high[lane] { value } else { high[lane] };
            // NaN as soon as one value is not finite.
            odd[lane] += value * 0.0;
        }
    }
    let low = low.map(key);
    // Doubled, the largest number must still be below the bits of infinity.
    let fits = |lane: usize| odd[lane] == 0.0 && key(high[lane]) - low[lane] < 0x3ff8 << 48;
    if !(0..LANES).all(fits) {
        return None;
    }
    for (place, row) in rows.iter_mut().enumerate() {
        let side = u64::from(place < n);
        for lane in 0..LANES {
            row[lane] = f64::from_bits((key(row[lane]) - low[lane]) << 1 | side);
        }
    }
    Some(())
}

/// Counts over sorted rows. In a group of equal values those of the second sample come first.
#[inline(always)]
fn tally(rows: &[Row]) -> Counts {
    let mut doubled_u = [0.0; LANES];
    let mut ties = [0.0; LANES];
    // Values of the second sample so far, and before the present group.
    let (mut second, mut before) = ([0.0_f64; LANES], [0.0_f64; LANES]);
    // Values of the present group before this one.
    let mut equal = [0.0_f64; LANES];
    let mut previous = [-1.0; LANES];
    for row in rows {
        for lane in 0..LANES {
            let bits = row[lane].to_bits();
            let value = f64::from_bits(bits & !1);
            let same = value == previous[lane];
            previous[lane] = value;
            before[lane] = if same { before[lane] } else { second[lane] };
            equal[lane] = if same { equal[lane] + 1.0 } else { 0.0 };
            // (t + 1)³ − (t + 1) exceeds t³ − t by 3t(t + 1).
            ties[lane] += equal[lane] * (equal[lane] + 1.0);
            // 1 for a value of the first sample, else 0. It wins twice over what lies before its
            // group, and once over what it ties with.
            let first = f64::from_bits((bits & 1).wrapping_neg() & 1.0_f64.to_bits());
            doubled_u[lane] += first * (before[lane] + second[lane]);
            second[lane] += 1.0 - first;
        }
    }
    Counts { doubled_u, ties: ties.map(|sum| 3.0 * sum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_all_sizes_sort() {
        // Sorting all sequences of zeros and ones is sorting everything (Knuth, 5.3.4).
        for total in 2..=14_usize {
            let network = network(total);
            for word in 0..1_u32 << total {
                let mut bits: Vec<u32> = (0..total).map(|place| word >> place & 1).collect();
                for (a, b) in &network {
                    let (a, b) = (usize::from(*a), usize::from(*b));
                    (bits[a], bits[b]) = (bits[a].min(bits[b]), bits[a].max(bits[b]));
                }
                assert!(bits.is_sorted(), "{total} {word:b}");
            }
        }
    }

    #[test]
    fn plain_and_wide_instructions_count_alike() {
        let x: Vec<f64> = (0..40).map(|i| f64::from(1 + i * i % 17)).collect();
        let y: Vec<f64> = (0..30).map(|i| f64::from(1 + i * i % 19)).collect();
        let mut lanes = Lanes::default();
        let wide = lanes.count(&[(&x, &y)]).unwrap();
        for (row, value) in lanes.rows.iter_mut().zip(x.iter().chain(&y)) {
            *row = [*value; LANES];
        }
        let plain = plain(&mut lanes.rows, &lanes.network, 40, 70).unwrap();
        assert_eq!((wide.doubled_u, wide.ties), (plain.doubled_u, plain.ties));
        // As counted pair by pair.
        let pairs = x.iter().flat_map(|a| y.iter().map(move |b| (a, b)));
        let u: f64 = pairs.map(|(a, b)| f64::from(u8::from(a > b) + u8::from(a >= b))).sum();
        assert_eq!(plain.doubled_u[0], u);
    }

    #[test]
    fn what_spans_too_much_is_left_to_others() {
        let mut lanes = Lanes::default();
        assert!(lanes.count(&[(&[-1.0, 1.0], &[0.5])]).is_none());
        assert!(lanes.count(&[(&[0.0, 1.0], &[2.0])]).is_none());
        assert!(lanes.count(&[(&[1.0, f64::INFINITY], &[0.5])]).is_none());
        assert!(lanes.count(&[(&[1.0, f64::NAN], &[0.5])]).is_none());
        assert!(lanes.count(&[(&[0.0, 1.0], &[-0.0])]).is_some());
    }
}
