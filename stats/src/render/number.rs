//! Numbers as text, the same in every table.

use crate::special::SMALLEST_P;

/// A p-value with three significant digits, and never `0`.
pub fn p_text(p: f64) -> String {
    if p.is_nan() {
        return "–".to_owned();
    }
    if p <= SMALLEST_P {
        return "<2.3e-308".to_owned();
    }
    significant(p, 3)
}

/// `digits` significant digits; with an exponent below 0.001 and from 1e7 on.
pub fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = digits.max(1);
    let scientific = format!("{value:.*e}", digits - 1);
    // The exponent after rounding: 0.09996 has three digits as 0.100.
    let exponent: i32 =
        scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    if !(-3..7).contains(&exponent) {
        return scientific;
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    format!("{value:.decimals$}")
}

/// A share in per cent, without needless digits: `95 %`, `99.5 %`.
pub fn percent(share: f64) -> String {
    // Nine digits hide what 100 · 0.95 does in binary.
    format!("{} %", (share * 1e11).round() / 1e9)
}

/// A shift with its sign and three significant digits.
pub fn signed(value: f64) -> String {
    let text = significant(value, 3);
    if value > 0.0 { format!("+{text}") } else { text }
}

/// An optional number, a dash where there is none.
pub(crate) fn or_dash(value: Option<f64>, text: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "–".to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_keep_their_digits_and_are_never_zero() {
        for (p, text) in [
            (1.0, "1.00"),
            (0.0332, "0.0332"),
            (0.099_96, "0.100"),
            (0.000_999_9, "0.00100"),
            (0.000_998_1, "9.98e-4"),
            (1.5e-300, "1.50e-300"),
            (SMALLEST_P, "<2.3e-308"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(p_text(p), text);
        }
    }

    #[test]
    fn shares_are_short() {
        let shares = [0.95, 1.0 - 0.05, 0.9, 0.995, 1.0 - 0.001].map(percent);
        assert_eq!(shares, ["95 %", "95 %", "90 %", "99.5 %", "99.9 %"]);
    }

    #[test]
    fn signs_are_shown() {
        assert_eq!(signed(0.5), "+0.500");
        assert_eq!(signed(-0.000_12), "-1.20e-4");
        assert_eq!(signed(0.0), "0");
    }
}
