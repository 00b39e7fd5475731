//! A table of text, and the ways to write one.

/// A titled table of text cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// Title, one line.
    pub title: String,
    /// Column heads.
    pub head: Vec<String>,
    /// Rows, each as long as the head.
    pub rows: Vec<Vec<String>>,
    /// Columns from this one on hold numbers and are set flush right.
    pub numbers_from: usize,
}

impl Sheet {
    /// A table without rows.
    pub fn new(title: &str, head: &[&str], numbers_from: usize) -> Self {
        let head = head.iter().map(|name| (*name).to_owned()).collect();
        Self { title: title.to_owned(), head, rows: Vec::new(), numbers_from }
    }

    /// For a terminal: columns aligned by spaces.
    pub fn text(&self) -> String {
        let widths = self.widths(str::to_owned);
        let line = |cells: &[String]| {
            let mut line = String::new();
            for (place, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                line += if place > 0 { "  " } else { "" };
                line += &self.pad(place, cell, *width);
            }
            line.trim_end().to_owned() + "\n"
        };
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        let mut text = format!("{}\n\n{}{}", self.title, line(&self.head), line(&rule));
        for row in &self.rows {
            text += &line(row);
        }
        text
    }

    /// As GitHub-flavoured Markdown.
    pub fn markdown(&self) -> String {
        let escape = |cell: &str| cell.replace('|', "\\|").replace('\n', " ");
        let widths = self.widths(escape);
        let line = |cells: &[String]| {
            let cells = cells.iter().zip(&widths).enumerate();
            let cells: Vec<String> = cells
                .map(|(place, (cell, width))| self.pad(place, &escape(cell), *width))
                .collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let rule: Vec<String> = widths
            .iter()
            .enumerate()
            .map(|(place, width)| {
                if place >= self.numbers_from {
                    format!("{}:", "-".repeat(width.saturating_sub(1).max(1)))
                } else {
                    "-".repeat(*width)
                }
            })
            .collect();
        let mut text = format!("### {}\n\n{}", self.title, line(&self.head));
        text += &format!("| {} |\n", rule.join(" | "));
        for row in &self.rows {
            text += &line(row);
        }
        text
    }

    /// As a LaTeX table for the `booktabs` package.
    pub fn latex(&self) -> String {
        let columns: String = (0..self.head.len())
            .map(|place| match place {
                _ if place >= self.numbers_from => "r",
                // The last column of a table of text holds sentences: let them break.
                _ if place + 1 == self.head.len() => "p{0.45\\linewidth}",
                _ => "l",
            })
            .collect();
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| latex_escape(cell)).collect();
            format!("    {} \\\\\n", cells.join(" & "))
        };
        let mut text = format!(
            "\\begin{{table}}\n  \\centering\n  \\caption{{{}}}\n  \\begin{{tabular}}{{{columns}}}\n    \\toprule\n",
            latex_escape(&self.title)
        );
        text += &line(&self.head);
        text += "    \\midrule\n";
        for row in &self.rows {
            text += &line(row);
        }
        text += "    \\bottomrule\n  \\end{tabular}\n\\end{table}\n";
        text
    }

    /// As CSV, quoted where needed (RFC 4180, with bare line feeds).
    pub fn csv(&self) -> String {
        std::iter::once(&self.head).chain(&self.rows).map(|row| csv_line(row)).collect()
    }

    /// As an HTML table.
    pub fn html(&self) -> String {
        let line = |cells: &[String], tag: &str| {
            let cells = cells.iter().enumerate().map(|(place, cell)| {
                let class = match place >= self.numbers_from {
                    true => " class=\"n\"",
                    // A sentence: not to be squeezed into a narrow column.
                    false if cell.chars().count() > 40 => " class=\"s\"",
                    false => "",
                };
                format!("<{tag}{class}>{}</{tag}>", html_escape(cell))
            });
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        };
        let body: String = self.rows.iter().map(|row| line(row, "td")).collect();
        format!(
            "<table>\n<caption>{}</caption>\n<thead>\n{}</thead>\n<tbody>\n{body}</tbody>\n</table>\n",
            html_escape(&self.title),
            line(&self.head, "th")
        )
    }

    fn widths(&self, written: impl Fn(&str) -> String) -> Vec<usize> {
        (0..self.head.len())
            .map(|place| {
                let cells = std::iter::once(&self.head).chain(&self.rows);
                let width = |row: &Vec<String>| {
                    row.get(place).map_or(0, |cell| written(cell).chars().count())
                };
                cells.map(width).max().unwrap_or(0)
            })
            .collect()
    }

    fn pad(&self, place: usize, cell: &str, width: usize) -> String {
        if place >= self.numbers_from {
            format!("{cell:>width$}")
        } else {
            format!("{cell:<width$}")
        }
    }
}

/// Text that HTML takes as text.
pub(crate) fn html_escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Text that LaTeX takes as text.
pub(crate) fn latex_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            '\\' => escaped += "\\textbackslash{}",
            '~' => escaped += "\\textasciitilde{}",
            '^' => escaped += "\\textasciicircum{}",
            '<' => escaped += "$<$",
            '>' => escaped += "$>$",
            '–' => escaped += "--",
            '±' => escaped += "$\\pm$",
            '−' => escaped += "$-$",
            'α' => escaped += "$\\alpha$",
            'δ' => escaped += "$\\delta$",
            '²' => escaped += "$^2$",
            '½' => escaped += "$\\frac{1}{2}$",
            '\n' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A row of CSV with its end.
pub(crate) fn csv_line(row: &[String]) -> String {
    let cell = |cell: &String| {
        if cell.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.clone()
        }
    };
    row.iter().map(cell).collect::<Vec<_>>().join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let mut sheet = Sheet::new("50 % & more", &["name", "p"], 1);
        sheet.rows.push(vec!["a|b, \"c\"".into(), "0.5".into()]);
        sheet
    }

    #[test]
    fn each_form_escapes_what_it_must() {
        assert!(sheet().markdown().contains("a\\|b"));
        assert!(sheet().latex().contains("50 \\% \\& more"));
        assert_eq!(sheet().csv(), "name,p\n\"a|b, \"\"c\"\"\",0.5\n");
        assert!(sheet().html().contains("50 % &amp; more"));
        assert!(sheet().html().contains("&quot;c&quot;"));
    }
}
