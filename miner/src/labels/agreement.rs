//! Agreement beyond chance: Cohen's kappa for two raters, Fleiss' for more.
//!
//! Cohen, *A Coefficient of Agreement for Nominal Scales*, Educational and Psychological
//! Measurement 20 (1960); Fleiss, *Measuring Nominal Scale Agreement Among Many Raters*,
//! Psychological Bulletin 76 (1971). Readings after Landis and Koch, Biometrics 33 (1977).

use study::BugId;

use super::{Answer, Criterion, Labels};

/// A kappa with what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Kappa {
    /// Subjects that all raters judged.
    pub subjects: usize,
    /// The share of agreeing pairs.
    pub observed: f64,
    /// The share that chance would give.
    pub expected: f64,
    /// (observed - expected) / (1 - expected); `None` when chance alone explains everything,
    /// as when all say the same of all.
    pub kappa: Option<f64>,
    /// The 95 % interval, from the large-sample standard error, within -1 and 1.
    pub interval: Option<(f64, f64)>,
}

impl Kappa {
    /// The usual reading of the value.
    pub fn reading(&self) -> &'static str {
        match self.kappa {
            None => "undefined: everyone gives one and the same answer",
            Some(kappa) if kappa < 0.0 => "poor",
            Some(kappa) if kappa <= 0.20 => "slight",
            Some(kappa) if kappa <= 0.40 => "fair",
            Some(kappa) if kappa <= 0.60 => "moderate",
            Some(kappa) if kappa <= 0.80 => "substantial",
            Some(_) => "almost perfect",
        }
    }

    fn new(subjects: usize, observed: f64, expected: f64, error: f64) -> Self {
        let chance_only = 1.0 - expected < 1e-12;
        let kappa = (!chance_only).then(|| (observed - expected) / (1.0 - expected));
        // 97.5 % point of the standard normal distribution.
        let half = 1.959_963_984_540_054 * error;
        let interval = kappa
            .filter(|_| error.is_finite())
            .map(|kappa| ((kappa - half).max(-1.0), (kappa + half).min(1.0)));
        Self { subjects, observed, expected, kappa, interval }
    }
}

/// Cohen's kappa for pairs of answers. `None` without any pair.
///
/// The standard error is Cohen's: sqrt(po (1 - po) / n) / (1 - pe).
pub fn cohen(pairs: &[(Answer, Answer)]) -> Option<Kappa> {
    if pairs.is_empty() {
        return None;
    }
    let n = pairs.len() as f64;
    let share = |count: usize| count as f64 / n;
    let observed = share(pairs.iter().filter(|(a, b)| a == b).count());
    let expected = Answer::ALL
        .iter()
        .map(|answer| {
            let left = pairs.iter().filter(|(a, _)| a == answer).count();
            let right = pairs.iter().filter(|(_, b)| b == answer).count();
            share(left) * share(right)
        })
        .sum();
    let error = (observed * (1.0 - observed) / n).sqrt() / (1.0 - expected);
    Some(Kappa::new(pairs.len(), observed, expected, error))
}

/// Fleiss' kappa for subjects with the same number of answers each, at least two. `None` without
/// any subject, or when the numbers differ.
///
/// The standard error is that of Fleiss, Nee and Landis (Psychological Bulletin 86, 1979) for the
/// hypothesis of no agreement, the usual one.
pub fn fleiss(subjects: &[Vec<Answer>]) -> Option<Kappa> {
    let raters = subjects.first()?.len();
    if raters < 2 || subjects.iter().any(|answers| answers.len() != raters) {
        return None;
    }
    let (n, m) = (subjects.len() as f64, raters as f64);
    let mut totals = [0.0; 3];
    let mut agreement = 0.0;
    for answers in subjects {
        let mut pairs = 0.0;
        for (answer, total) in Answer::ALL.iter().zip(&mut totals) {
            let count = answers.iter().filter(|a| *a == answer).count() as f64;
            *total += count;
            pairs += count * (count - 1.0);
        }
        agreement += pairs / (m * (m - 1.0));
    }
    let shares = totals.map(|total| total / (n * m));
    let observed = agreement / n;
    let expected: f64 = shares.iter().map(|p| p * p).sum();
    let spread: f64 = shares.iter().map(|p| p * (1.0 - p)).sum();
    let skew: f64 = shares.iter().map(|p| p * (1.0 - p) * (1.0 - 2.0 * p)).sum();
    let error =
        (2.0 * (spread * spread - skew)).max(0.0).sqrt() / (spread * (n * m * (m - 1.0)).sqrt());
    Some(Kappa::new(subjects.len(), observed, expected, error))
}

/// Agreement on one criterion over the bugs that all `raters` answered: Cohen's for two, Fleiss'
/// for more.
pub fn on(labels: &Labels, raters: &[String], criterion: Criterion) -> Option<Kappa> {
    let mut bugs: Vec<&BugId> = labels.iter().map(|label| &label.bug).collect();
    bugs.dedup();
    let subjects: Vec<Vec<Answer>> = bugs
        .into_iter()
        .filter_map(|bug| {
            let answer = |rater: &String| labels.get(bug, rater)?.answer(criterion);
            raters.iter().map(answer).collect()
        })
        .collect();
    match raters {
        [_, _] => {
            let pairs: Vec<(Answer, Answer)> =
                subjects.iter().filter_map(|s| Some((*s.first()?, *s.get(1)?))).collect();
            cohen(&pairs)
        }
        _ => fleiss(&subjects),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Answer::{No, Unsure, Yes};

    #[test]
    fn cohens_value_is_that_of_the_worked_example() {
        // 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: po = 0.7, pe = 0.5, kappa = 0.4.
        let mut pairs = vec![(Yes, Yes); 20];
        pairs.extend([(Yes, No); 5]);
        pairs.extend([(No, Yes); 10]);
        pairs.extend([(No, No); 15]);
        let kappa = cohen(&pairs).unwrap();
        assert!((kappa.kappa.unwrap() - 0.4).abs() < 1e-12);
        assert_eq!(kappa.reading(), "fair");
        // se = sqrt(0.7 * 0.3 / 50) / 0.5 = 0.1296
        let (low, high) = kappa.interval.unwrap();
        assert!((low - 0.145_96).abs() < 1e-4 && (high - 0.654_04).abs() < 1e-4, "{low} {high}");
    }

    #[test]
    fn fleiss_value_is_that_of_a_hand_count() {
        // Four subjects, three raters: agreement 1, 1, 1/3, 1/3; shares 7/12 and 5/12.
        let subjects =
            [vec![Yes, Yes, Yes], vec![No, No, No], vec![Yes, Yes, No], vec![Yes, Yes, No]];
        let kappa = fleiss(&subjects).unwrap();
        let expected = (49.0 + 25.0) / 144.0;
        assert!((kappa.observed - 2.0 / 3.0).abs() < 1e-12);
        assert!((kappa.kappa.unwrap() - (2.0 / 3.0 - expected) / (1.0 - expected)).abs() < 1e-12);
    }

    #[test]
    fn the_ends_are_sound() {
        assert_eq!(cohen(&[]), None);
        assert_eq!(cohen(&[(Yes, Yes); 3]).unwrap().kappa, None);
        assert_eq!(cohen(&[(Yes, Yes), (No, No)]).unwrap().kappa, Some(1.0));
        assert_eq!(cohen(&[(Yes, No), (No, Yes)]).unwrap().kappa, Some(-1.0));
        assert_eq!(fleiss(&[vec![Yes]]), None);
        assert_eq!(fleiss(&[vec![Yes, No], vec![Yes]]), None);
        assert_eq!(fleiss(&[vec![Unsure, Unsure]]).unwrap().kappa, None);
    }
}
