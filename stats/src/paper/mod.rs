//! Table IV of the paper, re-analysed from its p-values alone.
//!
//! The table gives one p-value a bug and metric, of two-sided asymptotic Mann-Whitney tests with
//! continuity correction on 50 runs a side (fewer for two bugs). Five digits are enough to find the
//! statistic behind a p-value, and with it the effect size.

mod report;

pub(crate) use report::beside;
pub use report::table_iv_report;

use crate::adjust::{benjamini_hochberg, bonferroni, holm};
use crate::mann_whitney::{p_of_distance, standard_deviation_of_u};
use crate::options::OUTCOMES;
use crate::power::{POWER, detectable_a12};
use crate::render::number::{p_text, significant};
use crate::special::normal_quantile;
use serde::Serialize;

/// The table as it was printed.
const TABLE: &str = include_str!("../../../data/paper/table_iv.csv");

/// The paper's level of significance.
const ALPHA: f64 = 0.05;

/// One cell of Table IV, with what follows from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Name of the bug, such as `pr31433`.
    pub bug: String,
    /// Name of the metric.
    pub metric: String,
    /// Runs a side that the test used: the smaller of the two counts.
    pub n: usize,
    /// The p-value as printed, to five digits.
    pub p_value: f64,
    /// Holm's correction over all 72 tests.
    pub p_holm: f64,
    /// Benjamini and Hochberg's correction over all 72 tests.
    pub p_bh: f64,
    /// Bonferroni's correction over all 72 tests.
    pub p_bonferroni: f64,
    /// Holm's correction over the 18 tests of the metric.
    pub p_holm_metric: f64,
    /// Benjamini and Hochberg's correction over the 18 tests of the metric.
    pub p_bh_metric: f64,
    /// Bonferroni's correction over the 18 tests of the metric.
    pub p_bonferroni_metric: f64,
    /// |U − n²/2| for which the formula without ties gives the p-value.
    pub distance: f64,
    /// The multiple of ½ next to it.
    pub nearest_half: f64,
    /// Whether that multiple gives the printed p-value to all five digits.
    pub exact_half: bool,
    /// ½ + distance / n²: A12, or 1 − A12, since the p-value does not tell the direction.
    pub a12: f64,
}

/// Table IV re-analysed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableIv {
    /// Its cells, by bug, then accuracy, precision, recall, F1.
    pub cells: Vec<Cell>,
    /// The level of significance.
    pub alpha: f64,
    /// Tests one expects below α if no bug has any effect.
    pub expected_by_chance: f64,
    /// p-values below α as printed, and after Holm, Benjamini-Hochberg and Bonferroni over all 72.
    pub below_alpha: Counts,
    /// The same with each metric's 18 tests as a family.
    pub below_alpha_by_metric: Vec<(String, Counts)>,
    /// The smallest |A12 − ½| that 50 runs a side find with 80 % power at α.
    pub detectable_a12: f64,
    /// The same at α/72, as Bonferroni's correction needs.
    pub detectable_a12_corrected: f64,
    /// The shift that corresponds to it, in standard deviations of a normal metric, at α.
    pub detectable_shift_sd: f64,
    /// The same at α/72.
    pub detectable_shift_sd_corrected: f64,
    /// What follows, and what does not.
    pub text: Vec<String>,
}

/// How many p-values are below α.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// As printed.
    pub uncorrected: usize,
    /// After Holm's correction.
    pub holm: usize,
    /// After Benjamini and Hochberg's correction.
    pub bh: usize,
    /// After Bonferroni's correction.
    pub bonferroni: usize,
}

fn counts(p: &[f64]) -> Counts {
    let below = |p: &[f64]| p.iter().filter(|p| **p < ALPHA).count();
    Counts {
        uncorrected: below(p),
        holm: below(&holm(p)),
        bh: below(&benjamini_hochberg(p)),
        bonferroni: below(&bonferroni(p)),
    }
}

/// One row of the printed table: bug, runs a side that were used, and the four p-values.
fn printed() -> Vec<(String, usize, [f64; 4])> {
    let parse = |line: &str| {
        let mut cells = line.split(',');
        let bug = cells.next()?.trim_start_matches("study-").to_owned();
        let mut n = || cells.next()?.trim().parse::<usize>().ok();
        let n = n()?.min(n()?);
        let p: Vec<f64> = cells.filter_map(|cell| cell.trim().parse().ok()).collect();
        Some((bug, n, p.try_into().ok()?))
    };
    TABLE.lines().skip(1).filter_map(parse).collect()
}

/// The distance |U − n²/2| without ties whose p-value is `p`: ½ + σ·z.
///
/// # Examples
/// ```
/// // The smallest p-value of Table IV, of 43 runs a side.
/// let distance = reproduceml_stats::paper::distance_of_p(0.00243, 43);
/// assert!((distance - 351.5).abs() < 0.05, "{distance}");
/// ```
pub fn distance_of_p(p: f64, n: usize) -> f64 {
    0.5 - standard_deviation_of_u(n, n, 0.0) * normal_quantile(0.5 * p)
}

/// Re-analyses the printed table.
///
/// # Examples
/// ```
/// let table = reproduceml_stats::paper::table_iv();
/// assert_eq!(table.cells.len(), 72);
/// ```
pub fn table_iv() -> TableIv {
    let rows = printed();
    let all: Vec<f64> = rows.iter().flat_map(|(_, _, p)| *p).collect();
    let (all_holm, all_bh, all_bonferroni) =
        (holm(&all), benjamini_hochberg(&all), bonferroni(&all));
    let column = |place: usize| rows.iter().map(|(_, _, p)| p[place]).collect::<Vec<f64>>();
    let by_metric: Vec<[Vec<f64>; 3]> = (0..OUTCOMES.len())
        .map(|place| {
            let p = column(place);
            [holm(&p), benjamini_hochberg(&p), bonferroni(&p)]
        })
        .collect();
    let mut cells = Vec::with_capacity(all.len());
    for (row, (bug, n, p)) in rows.iter().enumerate() {
        for (place, metric) in OUTCOMES.iter().enumerate() {
            let index = row * OUTCOMES.len() + place;
            let distance = distance_of_p(p[place], *n);
            let nearest_half = 0.5 * (2.0 * distance).round();
            let back = p_of_distance(nearest_half, *n, *n);
            cells.push(Cell {
                bug: bug.clone(),
                metric: (*metric).to_owned(),
                n: *n,
                p_value: p[place],
                p_holm: all_holm[index],
                p_bh: all_bh[index],
                p_bonferroni: all_bonferroni[index],
                p_holm_metric: by_metric[place][0][row],
                p_bh_metric: by_metric[place][1][row],
                p_bonferroni_metric: by_metric[place][2][row],
                distance,
                nearest_half,
                exact_half: format!("{back:.5}") == format!("{:.5}", p[place]),
                a12: 0.5 + distance / (n * n) as f64,
            });
        }
    }
    let corrected = ALPHA / all.len() as f64;
    let a12_at = |alpha| detectable_a12(50, 50, alpha, POWER).unwrap_or(f64::NAN);
    // For normal values P(X > Y) = Φ(shift / (√2 sd)).
    let sd_of = |a12: f64| std::f64::consts::SQRT_2 * normal_quantile(0.5 + a12);
    let mut table = TableIv {
        cells,
        alpha: ALPHA,
        expected_by_chance: ALPHA * all.len() as f64,
        below_alpha: counts(&all),
        below_alpha_by_metric: OUTCOMES
            .iter()
            .enumerate()
            .map(|(place, metric)| ((*metric).to_owned(), counts(&column(place))))
            .collect(),
        detectable_a12: a12_at(ALPHA),
        detectable_a12_corrected: a12_at(corrected),
        detectable_shift_sd: sd_of(a12_at(ALPHA)),
        detectable_shift_sd_corrected: sd_of(a12_at(corrected)),
        text: Vec::new(),
    };
    table.text = text(&table);
    table
}

fn text(table: &TableIv) -> Vec<String> {
    let tests = table.cells.len();
    let below: Vec<&Cell> = table.cells.iter().filter(|cell| cell.p_value < ALPHA).collect();
    let mut bugs: Vec<&str> = below.iter().map(|cell| cell.bug.as_str()).collect();
    bugs.dedup();
    let smallest = below.iter().copied().min_by(|a, b| a.p_value.total_cmp(&b.p_value));
    let counts = table.below_alpha;
    let distinct = |metric: &str| {
        let of =
            table.cells.iter().filter(|cell| (cell.metric == "accuracy") == (metric == "accuracy"));
        let halves = of.clone().filter(|cell| cell.exact_half).count();
        (halves, of.count())
    };
    let ((others, of_others), (accuracy, of_accuracy)) = (distinct("others"), distinct("accuracy"));
    let mut lines = vec![format!(
        "{} of {tests} p-values are below {ALPHA} as printed, all of {}. If no bug had any effect, one \
         would expect {:.1} of {tests} below it by chance; the tests of one bug share their runs and \
         so tend to fall together.",
        counts.uncorrected,
        bugs.join(", "),
        table.expected_by_chance
    )];
    if let Some(cell) = smallest {
        lines.push(format!(
            "The smallest, {} of {} ({}), becomes {} after Holm's correction over all {tests}, {} \
             after Benjamini and Hochberg's and {} after Bonferroni's; over the 18 tests of its \
             metric alone, {} after Holm's. Below {ALPHA} remain {} after Holm, {} after \
             Benjamini-Hochberg, {} after Bonferroni.",
            p_text(cell.p_value),
            cell.bug,
            cell.metric,
            p_text(cell.p_holm),
            p_text(cell.p_bh),
            p_text(cell.p_bonferroni),
            p_text(cell.p_holm_metric),
            counts.holm,
            counts.bh,
            counts.bonferroni
        ));
    }
    lines.push(format!(
        "{others} of {of_others} cells of precision, recall and F1 are, to all five digits, the \
         p-value of a distance |U − n²/2| that is a multiple of ½, as samples without ties give; so \
         are {accuracy} of {of_accuracy} of accuracy, whose values tie, which the formula without \
         ties leaves out. A distance gives A12 up to its direction: which side was better, the table \
         does not say."
    ));
    lines.push(format!(
        "50 runs a side find, with 80% power, an A12 of {} (or {}) at {ALPHA}, which is a shift of {} \
         standard deviations of a normal metric; after Bonferroni's correction for {tests} tests, {} \
         (or {}) and {} standard deviations.",
        significant(0.5 + table.detectable_a12, 3),
        significant(0.5 - table.detectable_a12, 3),
        significant(table.detectable_shift_sd, 3),
        significant(0.5 + table.detectable_a12_corrected, 3),
        significant(0.5 - table.detectable_a12_corrected, 3),
        significant(table.detectable_shift_sd_corrected, 3)
    ));
    lines.push(
        "What follows: taken as one family, these tests are what tests of bugs without effect on \
         these metrics would look like. What does not follow: that the bugs have no effect. A large \
         p-value does not show that two artifacts are the same; smaller shifts than those above would \
         mostly have been missed; the p-values alone allow no test of equivalence, for which the runs \
         are needed; and they do not tell whether the training reached the changed code at all, nor \
         what other seeds, models and data would show."
            .to_owned(),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_is_read() {
        let table = table_iv();
        assert_eq!(table.cells.len(), 72);
        let sizes: Vec<usize> =
            table.cells.iter().step_by(4).map(|cell| cell.n).filter(|n| *n != 50).collect();
        assert_eq!(sizes, [43, 47]);
    }

    #[test]
    fn all_cells_without_ties_come_from_half_integer_distances() {
        let table = table_iv();
        let others: Vec<&Cell> =
            table.cells.iter().filter(|cell| cell.metric != "accuracy").collect();
        assert_eq!(others.len(), 54);
        for cell in others {
            assert!(cell.exact_half, "{cell:?}");
        }
    }

    #[test]
    fn nothing_remains_after_correction() {
        let table = table_iv();
        assert_eq!(table.below_alpha, Counts { uncorrected: 4, holm: 0, bh: 0, bonferroni: 0 });
        assert!((table.expected_by_chance - 3.6).abs() < 1e-12);
        let smallest = &table.cells[5];
        assert!((smallest.p_holm - 0.174_96).abs() < 1e-9, "{smallest:?}");
    }
}
