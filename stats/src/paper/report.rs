//! Table IV re-analysed, as tables and text.

use super::{ALPHA, Counts, TableIv, table_iv};
use crate::analysis::{Analysis, Kind, Test};
use crate::options::OUTCOMES;
use crate::render::Format;
use crate::render::number::{or_dash, p_text, significant};
use crate::render::sheet::Sheet;

/// Table IV re-analysed, as text in the form asked for.
pub fn table_iv_report(format: Format) -> String {
    let table = table_iv();
    let sheets = [cell_sheet(&table, format == Format::Csv), family_sheet(&table)];
    let paragraphs = |mark: &str| {
        table.text.iter().map(|line| format!("{mark}{line}\n")).collect::<Vec<_>>().join("\n")
    };
    match format {
        Format::Json => serde_json::to_string_pretty(&table).unwrap_or_default() + "\n",
        Format::Csv => sheets[0].csv(),
        Format::Table => {
            format!("{}\n{}\n{}", sheets[0].text(), sheets[1].text(), paragraphs(""))
        }
        Format::Markdown => format!(
            "## Table IV, re-analysed\n\n{}\n{}\n{}",
            sheets[0].markdown(),
            sheets[1].markdown(),
            paragraphs("")
        ),
        Format::Latex => format!(
            "% needs \\usepackage{{booktabs}}\n{}\n{}\n{}",
            paragraphs("% "),
            sheets[0].latex(),
            sheets[1].latex()
        ),
    }
}

/// The paper's p-values beside those of an analysis, for the bugs that both have.
pub(crate) fn beside(analysis: &Analysis) -> Option<Sheet> {
    let table = table_iv();
    let head = ["bug", "metric", "n paper", "p paper", "n here", "p here", "p here, Holm"];
    let mut sheet = Sheet::new("The paper's Table IV beside this study", &head, 2);
    for cell in &table.cells {
        let same = |test: &&Test| {
            test.kind == Kind::Bug && test.bug == cell.bug && test.metric == cell.metric
        };
        let Some(test) = analysis.tests.iter().find(same) else { continue };
        sheet.rows.push(vec![
            cell.bug.clone(),
            cell.metric.clone(),
            cell.n.to_string(),
            p_text(cell.p_value),
            format!("{}/{}", test.n_buggy, test.n_corrected),
            or_dash(test.p_value, p_text),
            or_dash(test.p_holm, p_text),
        ]);
    }
    (!sheet.rows.is_empty()).then_some(sheet)
}

fn cell_sheet(table: &TableIv, full: bool) -> Sheet {
    let head = if full {
        [
            "bug",
            "metric",
            "n",
            "p_value",
            "p_holm",
            "p_bh",
            "p_bonferroni",
            "p_holm_metric",
            "p_bh_metric",
            "p_bonferroni_metric",
            "distance",
            "nearest_half",
            "exact_half",
            "a12",
        ]
    } else {
        [
            "bug",
            "metric",
            "n",
            "p",
            "Holm 72",
            "BH 72",
            "Bonf. 72",
            "Holm 18",
            "BH 18",
            "Bonf. 18",
            "|U−n²/2|",
            "nearest ½",
            "to 5 digits",
            "A12 or 1−A12",
        ]
    };
    let title = "Table IV: p-values as printed, corrected over all 72 tests and over a metric's 18";
    let mut sheet = Sheet::new(title, &head, 2);
    for cell in &table.cells {
        let p = |value: f64| if full { format!("{value:?}") } else { p_text(value) };
        let number = |value: f64, digits| {
            if full { format!("{value:?}") } else { significant(value, digits) }
        };
        sheet.rows.push(vec![
            cell.bug.clone(),
            cell.metric.clone(),
            cell.n.to_string(),
            format!("{:.5}", cell.p_value),
            p(cell.p_holm),
            p(cell.p_bh),
            p(cell.p_bonferroni),
            p(cell.p_holm_metric),
            p(cell.p_bh_metric),
            p(cell.p_bonferroni_metric),
            number(cell.distance, 6),
            cell.nearest_half.to_string(),
            if cell.exact_half { "yes" } else { "no" }.to_owned(),
            number(cell.a12, 3),
        ]);
    }
    sheet
}

fn family_sheet(table: &TableIv) -> Sheet {
    let head = ["family", "tests", "expected by chance", "as printed", "Holm", "BH", "Bonferroni"];
    let mut sheet = Sheet::new("How many p-values are below 0.05", &head, 1);
    let mut add = |name: &str, tests: usize, counts: Counts| {
        sheet.rows.push(vec![
            name.to_owned(),
            tests.to_string(),
            significant(ALPHA * tests as f64, 2),
            counts.uncorrected.to_string(),
            counts.holm.to_string(),
            counts.bh.to_string(),
            counts.bonferroni.to_string(),
        ]);
    };
    add("all", table.cells.len(), table.below_alpha);
    for (metric, counts) in &table.below_alpha_by_metric {
        add(metric, table.cells.len() / OUTCOMES.len(), *counts);
    }
    sheet
}
