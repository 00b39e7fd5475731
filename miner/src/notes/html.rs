//! Just enough HTML for release notes: tags, link addresses, text, comments.

/// Bytes after which an open `<` is taken for text; it keeps hostile input linear.
const LONGEST_TAG: usize = 4096;

/// A piece of HTML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text between tags, its common entities decoded.
    Text(String),
    /// An opening tag in lower case, with its `href` if it has one.
    Open(String, Option<String>),
    /// A closing tag in lower case.
    Close(String),
}

/// Cuts HTML into pieces; comments, declarations, scripts and styles are left out. Never fails:
/// what is no tag is text.
pub fn pieces(html: &str) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        let (text, tail) = rest.split_at(open);
        push_text(&mut out, text);
        let (piece, after) = match tag(tail) {
            Some(found) => found,
            None => {
                push_text(&mut out, "<");
                rest = tail.get(1..).unwrap_or("");
                continue;
            }
        };
        rest = after;
        if let Some(Piece::Open(name, _)) = &piece
            && matches!(name.as_str(), "script" | "style")
        {
            rest = skip_past_close(rest, name);
            continue;
        }
        out.extend(piece);
    }
    push_text(&mut out, rest);
    out
}

fn push_text(out: &mut Vec<Piece>, text: &str) {
    if text.is_empty() {
        return;
    }
    let text = decode(text);
    match out.last_mut() {
        Some(Piece::Text(before)) => before.push_str(&text),
        _ => out.push(Piece::Text(text)),
    }
}

/// The tag or comment at the start of `html`, and what follows it.
fn tag(html: &str) -> Option<(Option<Piece>, &str)> {
    if let Some(comment) = html.strip_prefix("<!--") {
        let end = comment.find("-->").map_or(comment.len(), |i| i + 3);
        return Some((None, comment.get(end..).unwrap_or("")));
    }
    if html.starts_with("<!") || html.starts_with("<?") {
        let end = html.bytes().take(LONGEST_TAG).position(|b| b == b'>')?;
        return Some((None, html.get(end + 1..).unwrap_or("")));
    }
    let inner = html.get(1..)?;
    let (closing, inner) = match inner.strip_prefix('/') {
        Some(name) => (true, name),
        None => (false, inner),
    };
    if !inner.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let end = end_of_tag(inner)?;
    let body = inner.get(..end)?;
    let after = inner.get(end + 1..).unwrap_or("");
    let stop = body.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(body.len());
    let name = body.get(..stop)?.to_ascii_lowercase();
    let piece = if closing { Piece::Close(name) } else { Piece::Open(name, attribute(body)) };
    Some((Some(piece), after))
}

/// The position of the `>` that ends a tag, over quoted attribute values.
fn end_of_tag(inner: &str) -> Option<usize> {
    let mut quote = None;
    for (index, byte) in inner.bytes().enumerate().take(LONGEST_TAG) {
        match (quote, byte) {
            (None, b'>') => return Some(index),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if byte == open => quote = None,
            _ => {}
        }
    }
    inner.bytes().take(LONGEST_TAG).position(|b| b == b'>')
}

/// The value of `href` in a tag's body.
fn attribute(body: &str) -> Option<String> {
    let lower = body.to_ascii_lowercase();
    let at = lower.find("href")?;
    let value = body.get(at + 4..)?.trim_start().strip_prefix('=')?.trim_start();
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value.get(1..)?.split(quote).next()?,
        _ => value.split(|c: char| c.is_whitespace() || c == '>').next()?,
    };
    Some(decode(value.trim()))
}

fn skip_past_close<'a>(html: &'a str, name: &str) -> &'a str {
    let lower = html.to_ascii_lowercase();
    match lower.find(&format!("</{name}")) {
        Some(at) => html.get(at..).and_then(|t| t.split_once('>')).map_or("", |(_, rest)| rest),
        None => "",
    }
}

fn decode(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#35;", "#"), ("&#39;", "'")]
        .iter()
        .chain(&[("&nbsp;", " "), ("&amp;", "&")])
        .fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_links_and_comments_are_told_apart() {
        let found = pieces("a<!-- #1 --><A HREF='x>y'>#2</a> 1 < 2 &amp; 3<br/><style>#9</style>z");
        assert_eq!(
            found,
            vec![
                Piece::Text("a".into()),
                Piece::Open("a".into(), Some("x>y".into())),
                Piece::Text("#2".into()),
                Piece::Close("a".into()),
                Piece::Text(" 1 < 2 & 3".into()),
                Piece::Open("br".into(), None),
                Piece::Text("z".into()),
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(html in "[<>a-z\"'/!=& -]{0,120}") {
            let _ = pieces(&html);
        }
    }
}
