//! Output of programs as a terminal would show it: colours kept, everything escaped.

use std::fmt::Write;

use anstyle_parse::{DefaultCharAccumulator, Params, Parser, Perform};

/// Longest line that is shown whole, in characters.
const LONGEST: usize = 4000;

/// Turns a line into HTML. Colours become classes, since the policy of pages allows no styles in
/// them; what a later carriage return overwrites is left out, as on a terminal.
pub(crate) fn html(line: &str) -> String {
    let line = line.trim_end_matches(['\r', '\n']);
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut parser = Parser::<DefaultCharAccumulator>::new();
    let mut page = Page::default();
    for byte in line.bytes() {
        parser.advance(&mut page, byte);
    }
    page.close();
    if page.left_out > 0 {
        let _ = write!(page.out, " … and {} more characters", page.left_out);
    }
    page.out
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
struct Style {
    foreground: Option<u8>,
    background: Option<u8>,
    bold: bool,
    dim: bool,
    italic: bool,
    underlined: bool,
}

#[derive(Default)]
struct Page {
    out: String,
    style: Style,
    open: Style,
    length: usize,
    left_out: usize,
}

impl Page {
    fn close(&mut self) {
        if self.open != Style::default() {
            self.out.push_str("</span>");
            self.open = Style::default();
        }
    }

    fn switch(&mut self) {
        if self.open == self.style {
            return;
        }
        self.close();
        if self.style != Style::default() {
            let style = self.style;
            let mut classes: Vec<String> = Vec::new();
            classes.extend(style.foreground.map(|colour| format!("f{colour}")));
            classes.extend(style.background.map(|colour| format!("b{colour}")));
            for (on, name) in [
                (style.bold, "bo"),
                (style.dim, "di"),
                (style.italic, "it"),
                (style.underlined, "ul"),
            ] {
                if on {
                    classes.push(name.to_owned());
                }
            }
            let _ = write!(self.out, "<span class=\"{}\">", classes.join(" "));
        }
        self.open = self.style;
    }

    fn colour(&mut self, codes: &[u16]) {
        let mut codes = codes.iter().copied();
        while let Some(code) = codes.next() {
            let style = &mut self.style;
            match code {
                0 => *style = Style::default(),
                1 => style.bold = true,
                2 => style.dim = true,
                3 => style.italic = true,
                4 => style.underlined = true,
                22 => (style.bold, style.dim) = (false, false),
                23 => style.italic = false,
                24 => style.underlined = false,
                30..=37 => style.foreground = u8::try_from(code - 30).ok(),
                38 => style.foreground = extended(&mut codes),
                39 => style.foreground = None,
                40..=47 => style.background = u8::try_from(code - 40).ok(),
                48 => style.background = extended(&mut codes),
                49 => style.background = None,
                90..=97 => style.foreground = u8::try_from(code - 90 + 8).ok(),
                100..=107 => style.background = u8::try_from(code - 100 + 8).ok(),
                _ => {}
            }
        }
    }
}

/// One of 256 colours, or any, as the nearest of sixteen.
fn extended(codes: &mut impl Iterator<Item = u16>) -> Option<u8> {
    let level = |value: u16| value.min(255);
    match codes.next()? {
        5 => {
            let code = codes.next()?;
            match code {
                0..=15 => u8::try_from(code).ok(),
                16..=231 => {
                    let cube = code - 16;
                    let part = |value: u16| if value == 0 { 0 } else { 55 + 40 * value };
                    Some(nearest(part(cube / 36), part(cube / 6 % 6), part(cube % 6)))
                }
                _ => {
                    let grey = 8 + 10 * (level(code) - 232);
                    Some(nearest(grey, grey, grey))
                }
            }
        }
        2 => Some(nearest(level(codes.next()?), level(codes.next()?), level(codes.next()?))),
        _ => None,
    }
}

fn nearest(red: u16, green: u16, blue: u16) -> u8 {
    let most = red.max(green).max(blue);
    let bright = most > 170;
    let on = |value: u16| u8::from(value * 2 > most && value > 60);
    let colour = on(red) | on(green) << 1 | on(blue) << 2;
    match colour {
        0 | 7 if (60..170).contains(&most) => 8,
        colour if bright => colour + 8,
        colour => colour,
    }
}

impl Perform for Page {
    fn print(&mut self, character: char) {
        if self.length >= LONGEST {
            self.left_out += 1;
            return;
        }
        self.length += 1;
        self.switch();
        match character {
            '<' => self.out.push_str("&lt;"),
            '>' => self.out.push_str("&gt;"),
            '&' => self.out.push_str("&amp;"),
            '"' => self.out.push_str("&quot;"),
            '\'' => self.out.push_str("&#39;"),
            other => self.out.push(other),
        }
    }

    fn execute(&mut self, byte: u8) {
        if byte == b'\t' {
            self.print('\t');
        }
    }

    fn csi_dispatch(&mut self, params: &Params, _: &[u8], _: bool, action: u8) {
        if action == b'm' {
            let codes: Vec<u16> = params.iter().flatten().copied().collect();
            self.colour(if codes.is_empty() { &[0] } else { &codes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes_and_text_is_escaped() {
        assert_eq!(html("plain <b>&\"'"), "plain &lt;b&gt;&amp;&quot;&#39;");
        assert_eq!(
            html("\x1b[1;31merror:\x1b[0m <x>\x1b[m"),
            "<span class=\"f1 bo\">error:</span> &lt;x&gt;"
        );
        assert_eq!(html("\x1b[38;5;196mred"), "<span class=\"f9\">red</span>");
        assert_eq!(html("\x1b[38;2;0;0;200mblue\x1b[39m."), "<span class=\"f12\">blue</span>.");
        assert_eq!(html("\x1b[2J\x1b[Hcleared\x1b]0;<title>\x07 é"), "cleared é");
        assert_eq!(html("\x1b[31mline\n"), "<span class=\"f1\">line</span>");
    }

    #[test]
    fn what_is_overwritten_is_not_shown_and_what_is_long_is_cut() {
        assert_eq!(html(" 10%\r 50%\r100%\r\n"), "100%");
        let long = html(&"x".repeat(10_000));
        assert!(long.len() < 4100 && long.ends_with("and 6000 more characters"), "{}", long.len());
    }

    #[test]
    fn every_sequence_of_colours_is_survived() {
        for code in 0..=300_u16 {
            html(&format!("\x1b[38;5;{code}m\x1b[48;5;{code}m\x1b[{code}mx"));
        }
        html("\x1b[38m\x1b[38;5m\x1b[38;2;1mx\x1b[99999999999mx");
    }
}
