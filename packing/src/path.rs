//! Which paths a member may have: those that name one file below a folder on every system.

/// No path is longer than this, in bytes.
pub const LONGEST: usize = 1024;

/// Why a text is no path of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is nothing, or nothing between two slashes.
    #[error("it has an empty part")]
    Empty,
    /// It begins at the root of a file system or names a drive.
    #[error("it does not begin in the pack")]
    Absolute,
    /// A part of it is `.` or `..`.
    #[error("it has a part `.` or `..`")]
    Dots,
    /// It holds a backslash, a colon, or a control character.
    #[error("it holds a backslash, a colon or a control character")]
    Character,
    /// It is longer than [`LONGEST`], or a part of it than 255 bytes.
    #[error("it is too long")]
    Long,
}

/// Checks a path: parts with a slash between them, none of them empty, `.` or `..`.
///
/// # Errors
/// [`PathError`] says which rule it breaks.
pub fn check(path: &str) -> Result<(), PathError> {
    if path.starts_with('/') {
        return Err(PathError::Absolute);
    }
    if path.chars().any(|c| c == '\\' || c == ':' || c.is_control()) {
        return Err(PathError::Character);
    }
    for part in path.split('/') {
        match part {
            "" => return Err(PathError::Empty),
            "." | ".." => return Err(PathError::Dots),
            part if part.len() > 255 => return Err(PathError::Long),
            _ => {}
        }
    }
    if path.len() > LONGEST { Err(PathError::Long) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_rule_has_its_word() {
        for (path, error) in [
            ("", PathError::Empty),
            ("a//b", PathError::Empty),
            ("a/", PathError::Empty),
            ("/etc/passwd", PathError::Absolute),
            ("../up", PathError::Dots),
            ("a/../../up", PathError::Dots),
            ("./a", PathError::Dots),
            ("a\\..\\b", PathError::Character),
            ("C:/a", PathError::Character),
            ("a\0b", PathError::Character),
            ("a\nb", PathError::Character),
        ] {
            assert_eq!(check(path), Err(error), "{path:?}");
        }
        assert_eq!(check(&"a/".repeat(600)), Err(PathError::Empty));
        assert_eq!(check(&"a/b".repeat(500)), Err(PathError::Long));
        assert_eq!(check(&"a".repeat(256)), Err(PathError::Long));
        for path in ["study.toml", "a/b.c/..d/e..", "…/ü ", ".hidden"] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_stays_below_its_folder(
            path in prop_oneof![".{0,40}", "[./a\\\\:]{0,12}", "(\\.\\.?|a|)(/(\\.\\.?|b|)){0,5}"],
        ) {
            if check(&path).is_ok() {
                let parts: Vec<Component<'_>> = Path::new(&path).components().collect();
                prop_assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))));
                // One path, one name: nothing is left out when it is put together again.
                let again: Vec<_> = parts.iter().map(|part| part.as_os_str().to_str().unwrap()).collect();
                prop_assert_eq!(again.join("/"), path);
            }
        }

        #[test]
        fn sound_paths_pass(path in "[a-zA-Z0-9_-]{1,20}(/[a-zA-Z0-9_-]{1,20}){0,6}") {
            prop_assert_eq!(check(&path), Ok(()));
        }
    }
}
