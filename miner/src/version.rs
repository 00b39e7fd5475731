//! Versions and the tags made of them.

/// A released version, ordered by its numbers: `1.10.0` after `1.9.1`, `1.2` like `1.2.0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(Vec<u64>);

impl Version {
    /// Parses numbers between dots; anything else (`1.0rc1`) is no released version.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers: Vec<u64> = Vec::new();
        for part in text.split('.') {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            numbers.push(part.parse().ok()?);
        }
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        Some(Self(numbers))
    }

    /// The version that `tag` is made of by `pattern` (`v{version}`).
    pub fn of_tag(tag: &str, pattern: &str) -> Option<Self> {
        let (before, behind) = pattern.split_once("{version}")?;
        Self::parse(tag.strip_prefix(before)?.strip_suffix(behind)?)
    }

    /// Whether only the third number or a later one sets it apart from a larger release.
    pub fn is_patch(&self) -> bool {
        self.0.len() > 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_number_and_tags_name_them() {
        let of = |tag| Version::of_tag(tag, "v{version}");
        assert!(of("v1.10.0") > of("v1.9.1") && of("v1.9.1") > of("v1.9"));
        assert_eq!(of("v1.2"), of("v1.2.0"));
        assert!(of("v1.13.1").unwrap().is_patch() && !of("v1.13.0").unwrap().is_patch());
        for tag in ["v1.0rc1", "1.0", "v", "v1..2", "nightly", "v../x", "v99999999999999999999999"]
        {
            assert_eq!(of(tag), None, "{tag}");
        }
        assert!(Version::of_tag("release-2.0-final", "release-{version}-final").is_some());
    }
}
