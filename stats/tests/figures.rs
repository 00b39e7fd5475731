//! Figures: what they hold, that they are stable, and that both forms can be made.

#![expect(clippy::unwrap_used, reason = "a test may stop at once")]

mod common;

use common::{Random, side};
use reproduceml_stats::figures::{self, Epoch, scene};
use reproduceml_stats::{Evaluation, Kind, Options, Results, analyse, paper};

fn results() -> Results {
    let mut random = Random(6);
    let mut rows = Vec::new();
    for (bug, shift) in [("pr1", -0.02), ("pr2", 0.0), ("pr<3>", 0.001)] {
        rows.extend(side(&mut random, bug, Evaluation::Buggy, 30, 0.7 + shift));
        rows.extend(side(&mut random, bug, Evaluation::Corrected, 28, 0.7));
    }
    Results::from_rows(rows).unwrap()
}

fn epochs() -> Vec<Epoch> {
    let mut random = Random(8);
    let mut epochs = Vec::new();
    for evaluation in [Evaluation::Buggy, Evaluation::Corrected] {
        for run in 0..5 {
            for epoch in 1..=10 {
                let value = 1.0 - 1.0 / f64::from(epoch + 1) + 0.01 * random.normal();
                epochs.push(Epoch { evaluation, run, epoch, value });
            }
        }
    }
    epochs
}

fn all() -> Vec<(&'static str, scene::Scene)> {
    let results = results();
    let analysis = analyse(&results, &Options::default());
    let p: Vec<f64> = paper::table_iv().cells.iter().map(|cell| cell.p_value).collect();
    vec![
        ("distributions", figures::distributions(&results, &analysis, "pr1", Kind::Bug).unwrap()),
        ("deviations", figures::deviations(&analysis).unwrap()),
        ("forest", figures::forest(&analysis, "accuracy").unwrap()),
        ("quantiles", figures::quantiles(&analysis).unwrap()),
        ("table_iv", figures::uniform_quantiles(&p).unwrap()),
        ("curves", figures::learning_curves("pr1", "accuracy", &epochs()).unwrap()),
    ]
}

#[test]
fn svg_is_stable_and_names_sides_and_sizes() {
    for ((name, scene), (_, again)) in all().into_iter().zip(all()) {
        let svg = scene.svg();
        assert_eq!(svg, again.svg(), "{name}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("<title>") && !svg.contains("NaN") && !svg.contains("inf"), "{name}");
        // `REPRODUCEML_FIGURES=folder` keeps the figures, to look at them.
        if let Ok(folder) = std::env::var("REPRODUCEML_FIGURES") {
            std::fs::write(format!("{folder}/{name}.svg"), &svg).unwrap();
            std::fs::write(
                format!("{folder}/{name}.png"),
                scene.png(scene::system_font().unwrap()).unwrap(),
            )
            .unwrap();
        }
    }
    let svg = &all()[0].1.svg();
    for text in ["buggy", "corrected", "n = 30", "n = 28", "accuracy", "f1"] {
        assert!(svg.contains(text), "{text}");
    }
    assert!(all()[2].1.svg().contains("pr&lt;3&gt;"));
    insta::assert_snapshot!(all()[2].1.svg());
}

#[test]
fn png_is_drawn_where_there_is_a_font() {
    let Ok(font) = scene::system_font() else {
        assert!(scene::system_font().unwrap_err().to_string().contains("install DejaVu"));
        return;
    };
    let bytes = all()[3].1.png(font).unwrap();
    assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 5000);
}

#[test]
fn nothing_to_draw_is_no_figure() {
    let results = results();
    let analysis = analyse(&results, &Options::default());
    assert!(figures::distributions(&results, &analysis, "none", Kind::Bug).is_none());
    assert!(figures::forest(&analysis, "none").is_none());
    assert!(figures::uniform_quantiles(&[]).is_none());
    assert!(figures::learning_curves("pr1", "accuracy", &[]).is_none());
}
