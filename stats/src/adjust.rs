//! Correction of p-values for the number of tests in a family.
//!
//! All functions return adjusted p-values in the order of their input, as R's `p.adjust` does.

/// Bonferroni: each p-value times their number, at most 1.
///
/// # Examples
/// ```
/// assert_eq!(reproduceml_stats::adjust::bonferroni(&[0.25, 0.5]), [0.5, 1.0]);
/// ```
pub fn bonferroni(p: &[f64]) -> Vec<f64> {
    p.iter().map(|value| (value * p.len() as f64).min(1.0)).collect()
}

/// Holm (1979): controls the chance of any false rejection in the family, whatever the dependence.
///
/// The k-th smallest of n p-values is multiplied by n − k + 1; then none may be below an earlier
/// one.
///
/// # Examples
/// ```
/// let adjusted = reproduceml_stats::adjust::holm(&[0.01, 0.04, 0.03]);
/// assert_eq!(adjusted, [0.03, 0.06, 0.06]);
/// ```
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0_f64;
    for (place, index) in ascending(p).into_iter().enumerate() {
        largest = largest.max(p[index] * (p.len() - place) as f64);
        adjusted[index] = largest.min(1.0);
    }
    adjusted
}

/// Benjamini and Hochberg (1995): controls the expected share of false ones among the rejections,
/// for independent or positively dependent tests.
///
/// The k-th smallest of n p-values is multiplied by n / k; then none may be above a later one.
///
/// # Examples
/// ```
/// let adjusted = reproduceml_stats::adjust::benjamini_hochberg(&[0.01, 0.04, 0.03]);
/// assert_eq!(adjusted, [0.03, 0.04, 0.04]);
/// ```
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![0.0; p.len()];
    let mut smallest = 1.0_f64;
    for (place, index) in ascending(p).into_iter().enumerate().rev() {
        smallest = smallest.min(p[index] * (p.len() as f64 / (place + 1) as f64));
        adjusted[index] = smallest;
    }
    adjusted
}

fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_families_stay_empty() {
        assert!(holm(&[]).is_empty() && benjamini_hochberg(&[]).is_empty());
    }

    #[test]
    fn values_as_by_hand() {
        assert_eq!(bonferroni(&[0.01, 0.5]), [0.02, 1.0]);
        let bh = benjamini_hochberg(&[0.01, 0.02, 0.03, 0.5]);
        for (a, b) in bh.iter().zip([0.04, 0.04, 0.04, 0.5]) {
            assert!((a - b).abs() < 1e-15);
        }
    }
}
