//! The runs of one side of one bug.

use crate::fingerprint::Fingerprint;

/// The runs of one side of one bug, in the order of their index.
///
/// Lists that no run has anything for stay empty: of ten million runs, they would be most of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Group {
    pub(crate) runs: Vec<u32>,
    /// One list a metric, NaN where missing.
    pub(crate) values: Vec<Vec<f64>>,
    seeds: Vec<Option<u64>>,
    fingerprints: Vec<Box<[Fingerprint]>>,
    rows: Vec<u32>,
}

impl Group {
    /// No runs, of so many metrics.
    pub(crate) fn new(metrics: usize) -> Self {
        Self { values: vec![Vec::new(); metrics], ..Self::default() }
    }

    /// Adds all of a run but its values. `row` is where it came from.
    pub(crate) fn push(
        &mut self,
        row: usize,
        run: u32,
        seed: Option<u64>,
        fingerprints: Vec<Fingerprint>,
    ) {
        if seed.is_some() || !self.seeds.is_empty() {
            self.seeds.resize(self.runs.len(), None);
            self.seeds.push(seed);
        }
        if !fingerprints.is_empty() || !self.fingerprints.is_empty() {
            self.fingerprints.resize(self.runs.len(), Box::default());
            self.fingerprints.push(fingerprints.into());
        }
        self.runs.push(run);
        // More rows than that do not fit into memory.
        self.rows.push(u32::try_from(row).unwrap_or(u32::MAX));
    }

    /// The seed of a run, where known.
    pub(crate) fn seed(&self, index: usize) -> Option<u64> {
        self.seeds.get(index).copied().flatten()
    }

    /// The digests of a run; none if unknown.
    pub(crate) fn fingerprints(&self, index: usize) -> &[Fingerprint] {
        self.fingerprints.get(index).map_or(&[], |digests| digests)
    }

    /// Whether any run has a seed.
    pub(crate) fn has_seeds(&self) -> bool {
        self.seeds.iter().any(Option::is_some)
    }

    /// Whether any run has digests.
    pub(crate) fn has_fingerprints(&self) -> bool {
        self.fingerprints.iter().any(|digests| !digests.is_empty())
    }

    /// The values of a metric that are there, of the first `limit` runs.
    pub(crate) fn present(&self, metric: usize, limit: usize) -> Vec<f64> {
        let values = self.values.get(metric).map_or(&[][..], Vec::as_slice);
        values.iter().take(limit).copied().filter(|value| !value.is_nan()).collect()
    }

    /// Sorts by run, and gives the rows of two runs with the same index, if there are such.
    pub(crate) fn sort_by_run(&mut self) -> Option<(usize, usize, u32)> {
        if !self.runs.is_sorted() {
            let mut order: Vec<u32> = (0..self.runs.len() as u32).collect();
            // Stable: of two equal runs the earlier row stays first.
            order.sort_by_key(|&index| self.runs[index as usize]);
            reorder(&mut self.runs, &order);
            reorder(&mut self.rows, &order);
            for values in &mut self.values {
                reorder(values, &order);
            }
            if !self.seeds.is_empty() {
                reorder(&mut self.seeds, &order);
            }
            if !self.fingerprints.is_empty() {
                reorder(&mut self.fingerprints, &order);
            }
        }
        let index = self.runs.windows(2).position(|pair| pair[0] == pair[1])?;
        Some((self.rows[index] as usize, self.rows[index + 1] as usize, self.runs[index]))
    }

    /// The runs that two sides share, as places in both. Both are in order.
    pub(crate) fn shared<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (usize, usize)> {
        let mut place = 0;
        self.runs.iter().enumerate().filter_map(move |(index, run)| {
            while other.runs.get(place).is_some_and(|there| there < run) {
                place += 1;
            }
            (other.runs.get(place) == Some(run)).then_some((index, place))
        })
    }
}

fn reorder<T: Default>(list: &mut Vec<T>, order: &[u32]) {
    *list = order.iter().map(|&index| std::mem::take(&mut list[index as usize])).collect();
}
