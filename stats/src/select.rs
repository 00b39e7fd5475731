//! Order statistics of all differences, or of all means, of pairs of values, without a list of them.
//!
//! Two samples of 50,000 values have 2.5 billion differences. They are the entries of a matrix whose
//! rows and columns are in order, so that one walk along the edge between small and large entries
//! counts those below any bound (Johnson and Mizoguchi, 1978). Bounds are taken from a sample of the
//! entries still in question (Floyd and Rivest, 1975), and a few walks leave so few that they can be
//! listed. The entry found is exact, whatever the sample was.

/// So many entries are simply listed.
const LISTED: u64 = 1 << 16;
/// Entries drawn to find bounds.
const DRAWN: u64 = 1 << 12;
/// Bounds lie so many drawn entries beside the expected place: three standard deviations.
const MARGIN: usize = 96;

/// Entries in ascending order along each row, from its first column on, and down each column.
pub(crate) struct Matrix<V, F> {
    rows: usize,
    columns: usize,
    /// The entry of a row and a column.
    value: V,
    /// The first column of a row; never less than that of the row before.
    first: F,
}

/// The differences of two samples sorted ascending, by place of `x` and, from the end, of `y`.
pub(crate) fn differences<'a>(
    x: &'a [f64],
    y: &'a [f64],
) -> Matrix<impl Fn(usize, usize) -> f64 + 'a, impl Fn(usize) -> usize> {
    let value = move |i: usize, j: usize| x[i] - y[y.len() - 1 - j];
    Matrix { rows: x.len(), columns: y.len(), value, first: |_| 0 }
}

/// The means of all pairs of values sorted ascending, each value also with itself.
pub(crate) fn means(
    values: &[f64],
) -> Matrix<impl Fn(usize, usize) -> f64 + '_, impl Fn(usize) -> usize> {
    let value = move |i: usize, j: usize| 0.5 * (values[i] + values[j]);
    Matrix { rows: values.len(), columns: values.len(), value, first: |i| i }
}

/// For each row, the columns of the entries still in question.
struct Candidates {
    from: Vec<u32>,
    to: Vec<u32>,
    /// Entries that are known to be smaller than all of them.
    below: u64,
}

impl Candidates {
    fn count(&self) -> u64 {
        self.from.iter().zip(&self.to).map(|(from, to)| u64::from(to - from)).sum()
    }
}

impl<V: Fn(usize, usize) -> f64, F: Fn(usize) -> usize> Matrix<V, F> {
    fn len(&self) -> u64 {
        (0..self.rows).map(|row| (self.columns - (self.first)(row)) as u64).sum()
    }

    /// The entries at the given places, counted from 1, in their order. Never −0.
    ///
    /// Places are at least 1 and at most the number of entries.
    pub(crate) fn nth<const N: usize>(&self, places: [u64; N]) -> [f64; N] {
        if self.len() <= LISTED {
            let mut all = self.list(&self.all());
            return places.map(|place| pick(&mut all, place) + 0.0);
        }
        places.map(|place| self.search(place) + 0.0)
    }

    /// The middle entry, or the mean of the two middle ones.
    pub(crate) fn median(&self) -> f64 {
        let len = self.len();
        if len % 2 == 1 {
            let [middle] = self.nth([len / 2 + 1]);
            return middle;
        }
        if len <= LISTED {
            let [low, high] = self.nth([len / 2, len / 2 + 1]);
            return 0.5 * (low + high);
        }
        let low = self.search(len / 2);
        // The second one is the same entry again, or the next larger.
        let mut ends = Vec::new();
        let high = if self.edge(|value| value <= low, &mut ends) > len / 2 {
            low
        } else {
            let next = ends.iter().enumerate().filter(|(_, end)| (**end as usize) < self.columns);
            next.map(|(row, end)| (self.value)(row, *end as usize)).fold(f64::INFINITY, f64::min)
        };
        0.5 * (low + high) + 0.0
    }

    fn all(&self) -> Candidates {
        let from = (0..self.rows).map(|row| (self.first)(row) as u32).collect();
        Candidates { from, to: vec![self.columns as u32; self.rows], below: 0 }
    }

    fn list(&self, candidates: &Candidates) -> Vec<f64> {
        let rows = candidates.from.iter().zip(&candidates.to).enumerate();
        rows.flat_map(|(row, (from, to))| {
            (*from..*to).map(move |column| (self.value)(row, column as usize))
        })
        .collect()
    }

    /// For each row the first column that is not `below`, and how many entries are.
    fn edge(&self, below: impl Fn(f64) -> bool, ends: &mut Vec<u32>) -> u64 {
        ends.clear();
        let mut end = self.columns;
        let mut count = 0;
        for row in 0..self.rows {
            let first = (self.first)(row);
            while end > first && !below((self.value)(row, end - 1)) {
                end -= 1;
            }
            let own = end.max(first);
            count += (own - first) as u64;
            ends.push(own as u32);
        }
        count
    }

    fn search(&self, place: u64) -> f64 {
        let mut candidates = self.all();
        let (mut low_ends, mut high_ends) = (Vec::new(), Vec::new());
        let mut random = Random(place);
        loop {
            let count = candidates.count();
            if count <= LISTED {
                return pick(&mut self.list(&candidates), place - candidates.below);
            }
            let drawn = self.draw(&candidates, count, &mut random);
            let rank = (place - candidates.below) as f64 / count as f64;
            let middle = ((rank * drawn.len() as f64) as usize).min(drawn.len() - 1);
            // Most often the place lies between these two, which few entries do.
            let low = drawn[middle.saturating_sub(MARGIN)];
            let high = drawn[(middle + MARGIN).min(drawn.len() - 1)];
            let below_low = self.edge(|value| value < low, &mut low_ends);
            let to_high = self.edge(|value| value <= high, &mut high_ends);
            if place <= below_low {
                candidates.end_at(&low_ends);
            } else if place > to_high {
                candidates.start_at(&high_ends, to_high);
            } else {
                candidates.start_at(&low_ends, below_low);
                candidates.end_at(&high_ends);
            }
            if low == high && below_low < place && place <= to_high {
                return low;
            }
            if candidates.count() > count / 2 {
                // Many equal entries: split at one of them, which leaves at least those out.
                let split = drawn[middle];
                let below = self.edge(|value| value < split, &mut low_ends);
                let to = self.edge(|value| value <= split, &mut high_ends);
                if place <= below {
                    candidates.end_at(&low_ends);
                } else if place > to {
                    candidates.start_at(&high_ends, to);
                } else {
                    return split;
                }
            }
        }
    }

    /// Draws entries, one from each of [`DRAWN`] equal parts of the candidates, in order of value.
    fn draw(&self, candidates: &Candidates, count: u64, random: &mut Random) -> Vec<f64> {
        let mut drawn = Vec::with_capacity(DRAWN as usize);
        let part = count / DRAWN;
        let mut passed = 0;
        let mut next = random.below(part);
        for (row, (from, to)) in candidates.from.iter().zip(&candidates.to).enumerate() {
            let own = u64::from(to - from);
            while next < passed + own && (drawn.len() as u64) < DRAWN {
                drawn.push((self.value)(row, *from as usize + (next - passed) as usize));
                next = drawn.len() as u64 * part + random.below(part);
            }
            passed += own;
        }
        drawn.sort_unstable_by(f64::total_cmp);
        drawn
    }
}

impl Candidates {
    fn start_at(&mut self, ends: &[u32], below: u64) {
        for ((from, to), end) in self.from.iter_mut().zip(&mut self.to).zip(ends) {
            *from = (*from).max(*end);
            *to = (*to).max(*from);
        }
        self.below = self.below.max(below);
    }

    fn end_at(&mut self, ends: &[u32]) {
        for ((from, to), end) in self.from.iter().zip(&mut self.to).zip(ends) {
            *to = (*to).min(*end).max(*from);
        }
    }
}

fn pick(values: &mut [f64], place: u64) -> f64 {
    *values.select_nth_unstable_by(place as usize - 1, f64::total_cmp).1
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::sorted;

    fn sample(seed: u64, size: usize, levels: u64) -> Vec<f64> {
        let mut random = Random(seed);
        sorted(&(0..size).map(|_| random.below(levels) as f64 / 10.0).collect::<Vec<_>>())
    }

    fn places(len: u64) -> [u64; 7] {
        [1, 2, len / 40, len / 3, len / 2, len.saturating_sub(7), len]
            .map(|place| place.clamp(1, len))
    }

    #[test]
    fn differences_are_those_of_the_sorted_list() {
        // From few entries to several rounds of bounds; from all equal to all distinct.
        for (n, m) in [(1, 1), (3, 5), (40, 61), (700, 900), (1200, 50)] {
            for levels in [1, 2, 30, 1 << 40] {
                let (x, y) = (sample(1, n, levels), sample(2, m, levels));
                let list: Vec<f64> = x.iter().flat_map(|a| y.iter().map(move |b| a - b)).collect();
                let list = sorted(&list);
                let matrix = differences(&x, &y);
                let places = places(list.len() as u64);
                let expected = places.map(|place| list[place as usize - 1]);
                assert_eq!(matrix.nth(places), expected, "{n} {m} {levels}");
                assert_eq!(matrix.median(), crate::sample::median(&list), "{n} {m} {levels}");
            }
        }
    }

    #[test]
    fn means_are_those_of_the_sorted_list() {
        for n in [1, 2, 50, 900] {
            for levels in [1, 2, 30, 1 << 40] {
                let values = sample(3, n, levels);
                let mut list = Vec::new();
                for (place, a) in values.iter().enumerate() {
                    list.extend(values[place..].iter().map(|b| 0.5 * (a + b)));
                }
                let list = sorted(&list);
                let matrix = means(&values);
                let places = places(list.len() as u64);
                let expected = places.map(|place| list[place as usize - 1]);
                assert_eq!(matrix.nth(places), expected, "{n} {levels}");
                assert_eq!(matrix.median(), crate::sample::median(&list), "{n} {levels}");
            }
        }
    }
}
