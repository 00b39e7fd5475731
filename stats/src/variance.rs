//! How much each factor of a factorial contributes to the spread of a metric: analysis of variance.
//!
//! Every cell of the factorial has as many runs. The sum of squares around the mean of all runs is
//! taken apart: for each factor, for each pair of factors, for what is left of the differences
//! between cells, and for the repetitions within them (Montgomery, *Design and Analysis of
//! Experiments*, 2017, chapters 5 and 8). Each part's share of the whole is η². In a balanced
//! factorial, and for the factors of a regular fraction of one, the parts are orthogonal: they add
//! up, in whatever order they are taken.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::sample::mean;
use crate::special::fisher_sf;

/// A factor and the names of its levels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Factor {
    /// Its name.
    pub name: String,
    /// Its levels, two or more.
    pub levels: Vec<String>,
    /// Whether the levels stand for many that could have been taken, as seeds do: these are drawn
    /// anew for intervals.
    pub random: bool,
}

/// The runs of one combination of levels.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The place of each factor's level.
    pub levels: Vec<usize>,
    /// A metric of its runs, as many in every cell.
    pub values: Vec<f64>,
}

/// What one source contributes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Component {
    /// The factor, `a × b` for a pair, `other interactions`, or `repetition`.
    pub source: String,
    /// Degrees of freedom.
    pub df: usize,
    /// Sum of squares, in the unit of the metric squared.
    pub sum_of_squares: f64,
    /// Its share of the total sum of squares, η²; none where nothing varies.
    pub share: Option<f64>,
    /// Interval of the share by bootstrap; none without one.
    pub interval: Option<(f64, f64)>,
    /// The standard deviation of a run that goes with it: √(sum of squares / runs), in the unit of
    /// the metric.
    pub deviation: f64,
    /// Its mean square over that of the repetitions; none where repetitions are all the same.
    pub f: Option<f64>,
    /// The chance of such an F or a larger one if the source had no effect.
    pub p_value: Option<f64>,
}

/// A metric's spread, taken apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// Runs.
    pub runs: usize,
    /// Mean of all runs.
    pub mean: f64,
    /// Standard deviation of all runs around it, with divisor n.
    pub deviation: f64,
    /// What contributes, factors first; the shares add up to 1.
    pub components: Vec<Component>,
}

/// Why a factorial cannot be analysed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VarianceError {
    /// Cells have different numbers of runs, or none; or a factor has one level.
    #[error(
        "the cells have from {least} to {most} values; each needs as many, and at least one, and \
         each factor two levels"
    )]
    Unbalanced {
        /// Values in the smallest cell.
        least: usize,
        /// Values in the largest.
        most: usize,
    },
    /// A value is NaN or infinite.
    #[error("a value is not a finite number")]
    NotFinite,
}

/// How intervals are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bootstrap {
    /// How often runs are drawn anew.
    pub draws: usize,
    /// Confidence of the intervals.
    pub level: f64,
    /// Where the generator starts.
    pub seed: u64,
}

/// Takes the spread of a metric apart. With `pairs`, pairs of factors are sources of their own,
/// which a fraction of a factorial cannot tell apart.
///
/// Intervals are percentiles over `bootstrap`: the levels of random factors, and the repetitions
/// within each cell, are drawn with replacement; draws of one level alone are drawn again.
///
/// # Errors
/// If cells have different numbers of values, or a value is not finite.
///
/// # Examples
/// ```
/// use reproduceml_stats::variance::{Cell, Factor, decompose};
/// let factor = Factor { name: "order".into(), levels: vec!["a".into(), "b".into()], random: false };
/// let cells = [
///     Cell { levels: vec![0], values: vec![1.0, 3.0] },
///     Cell { levels: vec![1], values: vec![5.0, 7.0] },
/// ];
/// // The means 2 and 6 lie 2 from 4: 16 of the 20 that the squares add up to.
/// let table = decompose(&[factor], &cells, true, None).unwrap();
/// assert_eq!(table.components[0].share, Some(0.8));
/// ```
pub fn decompose(
    factors: &[Factor],
    cells: &[Cell],
    pairs: bool,
    bootstrap: Option<Bootstrap>,
) -> Result<Table, VarianceError> {
    let sizes = cells.iter().map(|cell| cell.values.len());
    let (least, most) = (sizes.clone().min().unwrap_or(0), sizes.max().unwrap_or(0));
    let single = factors.iter().any(|factor| factor.levels.len() < 2);
    if least == 0 || least != most || single {
        return Err(VarianceError::Unbalanced { least, most });
    }
    if cells.iter().flat_map(|cell| &cell.values).any(|value| !value.is_finite()) {
        return Err(VarianceError::NotFinite);
    }
    let sources = sources(factors, pairs);
    let mut table = table(factors, cells, &sources);
    if let Some(bootstrap) = bootstrap {
        let drawn = draws(factors, cells, &sources, bootstrap);
        for (place, component) in table.components.iter_mut().enumerate() {
            let mut shares: Vec<f64> = drawn.iter().filter_map(|all| *all.get(place)?).collect();
            shares.sort_unstable_by(f64::total_cmp);
            let tail = 0.5 * (1.0 - bootstrap.level);
            component.interval = (!shares.is_empty()).then(|| {
                let at = |p| crate::sample::quantile_sorted(&shares, p);
                (at(tail), at(1.0 - tail))
            });
        }
    }
    Ok(table)
}

/// The sources that are told apart, each as the places of its factors.
fn sources(factors: &[Factor], pairs: bool) -> Vec<Vec<usize>> {
    let mut sources: Vec<Vec<usize>> = (0..factors.len()).map(|place| vec![place]).collect();
    // Of two factors the pair is all that there is between them.
    if pairs {
        for a in 0..factors.len() {
            sources.extend((a + 1..factors.len()).map(|b| vec![a, b]));
        }
    }
    sources
}

/// The squares of the means of all combinations of some factors around `centre`, each as often as
/// it has values.
fn between(cells: &[Cell], of: &[usize], centre: f64) -> f64 {
    let mut groups: BTreeMap<Vec<usize>, (f64, f64)> = BTreeMap::new();
    for cell in cells {
        let key = of.iter().map(|place| cell.levels[*place]).collect();
        let (sum, count) = groups.entry(key).or_default();
        // Around the centre, so that nothing is lost in large values.
        *sum += cell.values.iter().map(|value| value - centre).sum::<f64>();
        *count += cell.values.len() as f64;
    }
    groups.values().map(|(sum, count)| sum * sum / count).sum()
}

fn table(factors: &[Factor], cells: &[Cell], sources: &[Vec<usize>]) -> Table {
    let all: Vec<f64> = cells.iter().flat_map(|cell| &cell.values).copied().collect();
    let (n, centre) = (all.len() as f64, mean(&all));
    let constant = all.iter().all(|value| *value == all[0]);
    let total: f64 =
        if constant { 0.0 } else { all.iter().map(|value| (value - centre).powi(2)).sum() };
    let whole: Vec<usize> = (0..factors.len()).collect();
    // What is smaller than the rounding of the sum is none.
    let some = |squares: f64| if squares > 1e-13 * total { squares } else { 0.0 };
    let among_cells = some(between(cells, &whole, centre));
    let mut found: Vec<(String, usize, f64)> = Vec::new();
    for source in sources {
        let mut squares = between(cells, source, centre);
        let mut df = 1;
        for place in source {
            df *= factors[*place].levels.len() - 1;
            if source.len() > 1 {
                squares -= between(cells, &[*place], centre);
            }
        }
        let names: Vec<&str> = source.iter().map(|place| factors[*place].name.as_str()).collect();
        found.push((names.join(" × "), df, some(squares)));
    }
    let told: f64 = found.iter().map(|(_, _, squares)| squares).sum();
    let told_df: usize = found.iter().map(|(_, df, _)| df).sum();
    let rest_df = (cells.len() - 1).saturating_sub(told_df);
    if rest_df > 0 {
        found.push(("other interactions".to_owned(), rest_df, some(among_cells - told)));
    }
    let (within, within_df) = (some(total - among_cells), all.len() - cells.len());
    if within_df > 0 {
        found.push(("repetition".to_owned(), within_df, within));
    }
    let error = (within_df > 0 && within > 0.0).then(|| within / within_df as f64);
    let components = found.into_iter().map(|(source, df, sum_of_squares)| {
        let tested = source != "repetition";
        let f = error.filter(|_| tested).map(|error| sum_of_squares / df as f64 / error);
        Component {
            source,
            df,
            sum_of_squares,
            share: (total > 0.0).then(|| sum_of_squares / total),
            interval: None,
            deviation: (sum_of_squares / n).sqrt(),
            f,
            p_value: f.map(|f| fisher_sf(f, df as f64, within_df as f64)),
        }
    });
    let components = components.collect();
    Table { runs: all.len(), mean: centre, deviation: (total / n).sqrt(), components }
}

/// The shares of all sources, of runs that were drawn anew.
fn draws(
    factors: &[Factor],
    cells: &[Cell],
    sources: &[Vec<usize>],
    bootstrap: Bootstrap,
) -> Vec<Vec<Option<f64>>> {
    let by_levels: BTreeMap<&[usize], &Cell> =
        cells.iter().map(|cell| (cell.levels.as_slice(), cell)).collect();
    let mut random = Random(bootstrap.seed);
    let mut drawn = Vec::with_capacity(bootstrap.draws);
    for _ in 0..bootstrap.draws {
        // Which level stands in each level's place.
        let stands: Vec<Vec<usize>> = factors
            .iter()
            .map(|factor| {
                let count = factor.levels.len();
                loop {
                    let draw = |level| if factor.random { random.below(count) } else { level };
                    let drawn: Vec<usize> = (0..count).map(draw).collect();
                    // One level alone would say that the factor does nothing.
                    if drawn.iter().any(|level| *level != drawn[0]) {
                        break drawn;
                    }
                }
            })
            .collect();
        let all: Option<Vec<Cell>> = cells
            .iter()
            .map(|cell| {
                let levels: Vec<usize> =
                    cell.levels.iter().zip(&stands).map(|(level, stand)| stand[*level]).collect();
                // A fraction of a factorial does not have every combination.
                let source = by_levels.get(levels.as_slice())?;
                Some(Cell { levels: cell.levels.clone(), values: again(source, &mut random) })
            })
            .collect();
        if let Some(all) = all {
            let table = table(factors, &all, sources);
            drawn.push(table.components.into_iter().map(|component| component.share).collect());
        }
    }
    drawn
}

/// The runs of a cell drawn with replacement. Drawn from so few they would vary too little, by
/// (n − 1)/n in the square: their distances from the mean are stretched by as much.
fn again(cell: &Cell, random: &mut Random) -> Vec<f64> {
    let values = &cell.values;
    let count = values.len();
    let drawn = (0..count).map(|_| values[random.below(count)]);
    if count < 2 || values.iter().all(|value| *value == values[0]) {
        return drawn.collect();
    }
    let stretch = (count as f64 / (count - 1) as f64).sqrt();
    let centre = mean(values);
    drawn.map(|value| centre + stretch * (value - centre)).collect()
}

/// SplitMix64, whose numbers are the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `count`; the bias of a few in 2⁶⁴ is no matter here.
    fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factor(name: &str, levels: usize, random: bool) -> Factor {
        let levels = (0..levels).map(|level| level.to_string()).collect();
        Factor { name: name.to_owned(), levels, random }
    }

    fn grid(value: impl Fn(usize, usize, usize) -> f64) -> Vec<Cell> {
        let mut cells = Vec::new();
        for a in 0..3 {
            for b in 0..2 {
                let values = (0..2).map(|run| value(a, b, run)).collect();
                cells.push(Cell { levels: vec![a, b], values });
            }
        }
        cells
    }

    fn shares(table: &Table) -> Vec<(&str, f64)> {
        table.components.iter().map(|one| (one.source.as_str(), one.share.unwrap())).collect()
    }

    #[test]
    fn what_one_factor_does_is_its_own() {
        let factors = [factor("a", 3, true), factor("b", 2, false)];
        let only_a = grid(|a, _, _| a as f64);
        let table = decompose(&factors, &only_a, true, None).unwrap();
        let told = [("a", 1.0), ("b", 0.0), ("a × b", 0.0), ("repetition", 0.0)];
        assert_eq!(shares(&table), told);
        assert!(table.components.iter().all(|one| one.f.is_none()), "nothing to compare with");
        let only_runs = grid(|_, _, run| run as f64);
        let table = decompose(&factors, &only_runs, true, None).unwrap();
        assert_eq!(table.components[3].share, Some(1.0));
        let both = grid(|a, b, _| if (a + b) % 2 == 0 { 1.0 } else { -1.0 });
        let table = decompose(&factors, &both, true, None).unwrap();
        assert!(table.components[2].share.unwrap() > 0.8, "{table:?}");
        let sum: f64 = table.components.iter().filter_map(|one| one.share).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_constant_has_nothing_to_share() {
        let factors = [factor("a", 3, true), factor("b", 2, false)];
        let bootstrap = Bootstrap { draws: 20, level: 0.95, seed: 1 };
        let table = decompose(&factors, &grid(|_, _, _| 0.1), true, Some(bootstrap)).unwrap();
        assert_eq!(table.deviation, 0.0);
        assert!(table.components.iter().all(|one| one.share.is_none() && one.interval.is_none()));
    }

    #[test]
    fn intervals_hold_the_share_and_are_the_same_each_time() {
        let factors = [factor("seed", 3, true), factor("b", 2, false)];
        let cells = grid(|a, b, run| (a * a) as f64 + 0.3 * b as f64 + 0.2 * run as f64);
        let bootstrap = Some(Bootstrap { draws: 500, level: 0.95, seed: 7 });
        let table = decompose(&factors, &cells, true, bootstrap).unwrap();
        for one in &table.components {
            let ((low, high), share) = (one.interval.unwrap(), one.share.unwrap());
            assert!(low <= share + 1e-12 && share <= high + 1e-12, "{one:?}");
        }
        assert_eq!(decompose(&factors, &cells, true, bootstrap).unwrap(), table);
    }

    #[test]
    fn cells_that_do_not_fit_are_refused() {
        let factors = [factor("a", 3, true), factor("b", 2, false)];
        let mut cells = grid(|a, _, _| a as f64);
        cells[1].values.pop();
        let error = decompose(&factors, &cells, true, None).unwrap_err();
        assert_eq!(error, VarianceError::Unbalanced { least: 1, most: 2 });
        cells[1].values.push(f64::NAN);
        let error = decompose(&factors, &cells, true, None).unwrap_err();
        assert_eq!(error, VarianceError::NotFinite);
    }
}
