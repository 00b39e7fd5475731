//! What must hold for any samples.

use proptest::prelude::*;
use reproduceml_stats::mann_whitney::{
    self, Alternative, Choice, asymptotic, exact_with_ties, test as mann_whitney,
};
use reproduceml_stats::{adjust, brunner_munzel, effect, equivalence, shift, signed_rank, spread};

fn sample() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![
        proptest::collection::vec((0_i32..8).prop_map(f64::from), 1..24),
        proptest::collection::vec(-1e3_f64..1e3, 1..24),
    ]
}

fn choice() -> impl Strategy<Value = Choice> {
    prop_oneof![Just(Choice::Auto), Just(Choice::Exact), Just(Choice::Asymptotic)]
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

proptest! {
    #[test]
    fn swapping_the_samples_keeps_p(x in sample(), y in sample(), choice in choice()) {
        let a = mann_whitney(&x, &y, Alternative::TwoSided, choice).unwrap();
        let b = mann_whitney(&y, &x, Alternative::TwoSided, choice).unwrap();
        prop_assert!(a.p_value > 0.0 && a.p_value <= 1.0);
        prop_assert!(close(a.p_value, b.p_value));
        prop_assert_eq!(a.u + b.u, (x.len() * y.len()) as f64);
        let less = mann_whitney(&x, &y, Alternative::Less, choice).unwrap().p_value;
        let greater = mann_whitney(&y, &x, Alternative::Greater, choice).unwrap().p_value;
        prop_assert!(close(less, greater));
    }

    #[test]
    fn a_monotone_transform_changes_nothing(x in sample(), y in sample()) {
        // Cubing on integers is exact and strictly monotone.
        let whole = |values: &[f64]| values.iter().map(|v| v.round()).collect::<Vec<f64>>();
        let cubed = |values: &[f64]| values.iter().map(|v| v.powi(3) + 5.0).collect::<Vec<f64>>();
        let (x, y) = (whole(&x), whole(&y));
        let before = exact_with_ties(&x, &y, Alternative::TwoSided).unwrap();
        let after = exact_with_ties(&cubed(&x), &cubed(&y), Alternative::TwoSided).unwrap();
        prop_assert_eq!(before, after);
        let before = asymptotic(&x, &y, Alternative::TwoSided, true).unwrap();
        prop_assert_eq!(before, asymptotic(&cubed(&x), &cubed(&y), Alternative::TwoSided, true).unwrap());
    }

    #[test]
    fn intervals_hold_their_estimates(x in sample(), y in sample(), choice in choice()) {
        let there = shift::hodges_lehmann(&x, &y, 0.95, choice).unwrap();
        prop_assert!(there.low <= there.estimate && there.estimate <= there.high, "{there:?}");
        let back = shift::hodges_lehmann(&y, &x, 0.95, choice).unwrap();
        prop_assert!(close(there.estimate, -back.estimate));
        prop_assert!(close(there.low, -back.high) && close(there.high, -back.low));
        if x.len() > 1 && y.len() > 1 {
            let effect = effect::effect(&x, &y, 0.95).unwrap();
            let (a12, delta) = (effect.a12, effect.cliffs_delta);
            prop_assert!(0.0 <= a12.low && a12.low <= a12.estimate + 1e-12, "{a12:?}");
            prop_assert!(a12.estimate <= a12.high + 1e-12 && a12.high <= 1.0, "{a12:?}");
            prop_assert!(close(delta.estimate, 2.0 * a12.estimate - 1.0));
            let u = mann_whitney(&x, &y, Alternative::TwoSided, choice).unwrap().u;
            prop_assert!(close(a12.estimate, u / (x.len() * y.len()) as f64));
        }
    }

    #[test]
    fn wider_margins_are_easier(x in sample(), y in sample(), choice in choice()) {
        let narrow = equivalence::tost(&x, &y, 1.0, choice).unwrap().p_value;
        let wide = equivalence::tost(&x, &y, 2.0, choice).unwrap().p_value;
        prop_assert!(narrow > 0.0 && narrow <= 1.0);
        prop_assert!(wide <= narrow + 1e-9, "{wide} {narrow}");
    }

    #[test]
    fn the_other_tests_give_probabilities(x in sample(), y in sample(), choice in choice()) {
        if let Ok(outcome) = brunner_munzel::brunner_munzel(&x, &y) {
            prop_assert!(outcome.p_value > 0.0 && outcome.p_value <= 1.0, "{outcome:?}");
        }
        if let Ok(outcome) = spread::fligner_killeen(&x, &y) {
            prop_assert!(outcome.p_value > 0.0 && outcome.p_value <= 1.0, "{outcome:?}");
        }
        let pairs = x.len().min(y.len());
        let outcome = signed_rank::signed_rank(&x[..pairs], &y[..pairs], choice).unwrap();
        prop_assert!(outcome.p_value > 0.0 && outcome.p_value <= 1.0, "{outcome:?}");
        let back = signed_rank::signed_rank(&y[..pairs], &x[..pairs], choice).unwrap();
        prop_assert!(close(outcome.p_value, back.p_value));
        prop_assert!(close(outcome.pseudomedian, -back.pseudomedian));
    }

    #[test]
    fn one_sided_signed_ranks_are_halves_of_two_sided_ones(
        x in sample(),
        y in sample(),
        choice in choice(),
        continuity in proptest::bool::ANY,
    ) {
        let pairs = x.len().min(y.len());
        let p = |alternative| {
            let settings = mann_whitney::Settings { choice, alternative, continuity };
            signed_rank::signed_rank(&x[..pairs], &y[..pairs], settings).unwrap()
        };
        let [less, greater, two] =
            [Alternative::Less, Alternative::Greater, Alternative::TwoSided].map(p);
        // The distribution over all signs is symmetric, with ties too.
        let smaller = less.p_value.min(greater.p_value);
        prop_assert!(close(two.p_value, (2.0 * smaller).min(1.0)) || two.p_value == 1.0, "{two:?}");
        prop_assert!(less.p_value + greater.p_value >= 1.0 - 1e-9);
    }

    #[test]
    fn corrections_keep_order_and_bounds(p in proptest::collection::vec(1e-12_f64..1.0, 0..40)) {
        let (holm, bh) = (adjust::holm(&p), adjust::benjamini_hochberg(&p));
        let bonferroni = adjust::bonferroni(&p);
        for i in 0..p.len() {
            prop_assert!(p[i] <= bh[i] * (1.0 + 1e-12) && bh[i] <= holm[i] * (1.0 + 1e-12));
            prop_assert!(holm[i] <= bonferroni[i] && bonferroni[i] <= 1.0);
            for j in 0..p.len() {
                prop_assert!(p[i] > p[j] || (holm[i] <= holm[j] && bh[i] <= bh[j]));
            }
        }
    }
}
