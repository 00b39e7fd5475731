//! Small parts that pages share.

use maud::{Markup, PreEscaped, html};
use study::RunStatus;

use crate::model::{Compared, Factor};

/// A text in which backticks mark code, as release notes write it.
pub(super) fn prose(text: &str) -> Markup {
    let mut parts = text.split('`').peekable();
    let mut code = false;
    let mut out = html! {};
    while let Some(part) = parts.next() {
        // A lone backtick at the end opens nothing.
        let last = parts.peek().is_none();
        let piece = if code && !last {
            html! { code { (part) } }
        } else if code {
            html! { "`" (part) }
        } else {
            html! { (part) }
        };
        out = html! { (out) (piece) };
        code = !code;
    }
    out
}

/// A word in its colour.
pub(super) fn badge(word: &str) -> Markup {
    let class: String =
        word.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    html! { span class={ "badge w-" (class) } { (word) } }
}

pub(super) fn status(status: RunStatus) -> Markup {
    badge(status.as_str())
}

/// A moment, to the minute.
pub(super) fn moment(text: &str) -> Markup {
    let shown = text.get(..16).map_or_else(|| text.to_owned(), |t| t.replace('T', " "));
    html! { time datetime=(text) title=(text) { (shown) } }
}

/// A digest or commit by its start; the whole is its title, and what is copied.
pub(super) fn digest(text: &str) -> Markup {
    let bare = text.strip_prefix("sha256:").unwrap_or(text);
    html! { code.digest title=(text) { (bare.get(..12).unwrap_or(bare)) } }
}

/// A number with separators between thousands.
pub(super) fn count(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or_default().to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the unit that suits them.
pub(super) fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if size < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} GiB")
}

/// Seconds in the unit that suits them.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

/// A p-value.
pub(super) fn probability(p: Option<f64>) -> String {
    match p {
        None => "–".into(),
        Some(p) if p < 0.0001 => "< 0.0001".into(),
        Some(p) => format!("{p:.4}"),
    }
}

pub(super) fn compared(compared: Compared) -> Markup {
    match compared {
        Compared::Open => html! { span.quiet { "–" } },
        Compared::Same => html! { span.same { "bit-identical" } },
        Compared::PredictionsDiffer => html! { span.differs { "predictions differ" } },
        Compared::PartIn(0) => html! { span.differs { "at initialisation" } },
        Compared::PartIn(epoch) => html! { span.differs { "epoch " (epoch) } },
    }
}

/// Two lists of attributes side by side: what differs first and marked, the rest folded away.
pub(super) fn side_by_side(factors: &[Factor], heads: [&str; 2], caption: &str) -> Markup {
    let differing: Vec<&Factor> = factors.iter().filter(|factor| factor.differs()).collect();
    let counting = differing.iter().filter(|factor| factor.counts).count();
    let same: Vec<&Factor> = factors.iter().filter(|factor| !factor.differs()).collect();
    html! {
        @if differing.is_empty() {
            p { "All " (count(factors.len())) " values are the same." }
        } @else {
            p {
                (count(differing.len())) " of " (count(factors.len())) " values differ"
                @if counting < differing.len() {
                    ", " (count(differing.len() - counting)) " of them where the two may"
                }
                "."
            }
            (factor_table(&differing, heads, &format!("{caption}: what differs")))
        }
        @if !same.is_empty() {
            details {
                summary { "The " (count(same.len())) " values that agree" }
                (factor_table(&same, heads, &format!("{caption}: what agrees")))
            }
        }
    }
}

fn factor_table(factors: &[&Factor], heads: [&str; 2], caption: &str) -> Markup {
    let mut last = "";
    let rows: Vec<(bool, &&Factor)> = factors
        .iter()
        .map(|factor| {
            let new = factor.factor != last;
            last = &factor.factor;
            (new, factor)
        })
        .collect();
    let value = |text: &Option<String>| match text {
        Some(text) => html! { (text) },
        None => html! { span.quiet { "absent" } },
    };
    html! {
        div.wide tabindex="0" role="group" aria-label=(caption) {
            table.factors {
                caption.hidden { (caption) }
                thead { tr { th scope="col" { "factor" } th scope="col" { "value" }
                    th scope="col" { (heads[0]) } th scope="col" { (heads[1]) } } }
                tbody {
                    @for (new, factor) in rows {
                        tr.differ[factor.differs() && factor.counts].free[factor.differs() && !factor.counts] {
                            th scope="row" { @if new { (factor.factor) } }
                            td { (factor.path) }
                            td { (value(&factor.left)) }
                            td { (value(&factor.right)) }
                        }
                    }
                }
            }
        }
    }
}

/// The lines of a log, for a block of code.
pub(super) fn log_lines(first: u64, lines: &[String]) -> Markup {
    PreEscaped(crate::live::rows(first, lines))
}
