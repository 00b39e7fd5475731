//! Names of kernels, as a GPU's profiler tells them: with their return types, name spaces, template
//! arguments and parameters, demangled or not. A fix knows them by their last name alone.

use std::collections::{BTreeMap, BTreeSet};

/// The kernels that a traced epoch dispatched, by what their names are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dispatched {
    /// The kernels' own names, each with one of the full names that have it.
    own: BTreeMap<String, String>,
    /// All words of their names, arguments of templates among them: functors and the functions
    /// whose lambdas they run.
    words: BTreeMap<String, String>,
}

impl Dispatched {
    /// Of the names that a profiler told.
    pub fn of(names: &BTreeSet<String>) -> Self {
        let mut found = Self::default();
        for name in names {
            let full = demangled(name);
            if let Some(own) = own_name(&full) {
                found.own.entry(own.to_owned()).or_insert_with(|| full.clone());
            }
            for word in words(&full) {
                found.words.entry(word.to_owned()).or_insert_with(|| full.clone());
            }
        }
        found
    }

    /// Whether the profiler heard kernels at all. An epoch on a GPU dispatches some: a trace without
    /// any was made by a profiler that does not tell them.
    pub fn are_heard(&self) -> bool {
        !self.own.is_empty()
    }

    /// Whether a kernel of this name was dispatched.
    pub fn has(&self, kernel: &str) -> bool {
        self.own.contains_key(kernel)
    }

    /// The name of a dispatched kernel with this word in it.
    pub fn with_word(&self, word: &str) -> Option<&str> {
        let full = self.words.get(word)?;
        Some(own_name(full).unwrap_or(full))
    }
}

/// The name as it is written in C++; itself where it is not mangled.
fn demangled(name: &str) -> String {
    let plain = || name.to_owned();
    if !name.starts_with("_Z") {
        return plain();
    }
    cpp_demangle::Symbol::new(name)
        .ok()
        .and_then(|symbol| symbol.demangle().ok())
        .unwrap_or_else(plain)
}

const ANONYMOUS: &str = "(anonymous namespace)";

/// The last name of a function: without what it returns, its name spaces, and its arguments.
fn own_name(full: &str) -> Option<&str> {
    let mut from = 0;
    let mut at = 0;
    // The first bracket that opens no anonymous name space ends the name.
    while let Some(next) = full.get(at..)?.find(['<', '(', ' ', ':']).map(|place| at + place) {
        let rest = full.get(next..)?;
        if rest.starts_with(ANONYMOUS) {
            at = next + ANONYMOUS.len();
        } else if rest.starts_with([' ', ':']) {
            at = next + 1;
            from = at;
        } else {
            return Some(full.get(from..next)?).filter(|name| is_name(name));
        }
    }
    full.get(from..).filter(|name| is_name(name))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(is_word)
}

fn words(full: &str) -> impl Iterator<Item = &str> {
    full.split(|c| !is_word(c)).filter(|word| is_name(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_own_name_is_the_last_before_its_arguments() {
        for (full, own) in [
            (
                "void (anonymous namespace)::softmax_warp_forward<float, float, float, 4, true>(\
                 float*, float const*, int, int, int)",
                "softmax_warp_forward",
            ),
            (
                "void at::native::vectorized_elementwise_kernel<4, at::native::AddFunctor<float>, \
                 at::detail::Array<char*, 3> >(int, at::native::AddFunctor<float>)",
                "vectorized_elementwise_kernel",
            ),
            ("at::native::plain(int*)", "plain"),
            ("volta_sgemm_128x64_nn", "volta_sgemm_128x64_nn"),
            // As nothing demangled them.
            (
                "_ZN2at6native43_GLOBAL__N__12_f_cu_0a1b2c3d_12345678_9abcd5scaleIfLi4EEEvPT_i",
                "scale",
            ),
            ("_ZL8add_tilePfi", "add_tile"),
        ] {
            assert_eq!(own_name(&demangled(full)), Some(own), "{full}");
        }
        for odd in ["", "(anonymous namespace)", "::", "void ", "_Z", "ab\u{e9}"] {
            let found = Dispatched::of(&BTreeSet::from([odd.to_owned()]));
            assert!(!found.are_heard() || odd == "_Z", "{odd}: {found:?}");
        }
    }

    #[test]
    fn functors_and_lambdas_are_words_of_the_kernels_that_run_them() {
        let name = "void at::native::loop<at::native::scale_kernel(at::TensorIterator&)::\
                    {lambda(float)#1}, at::native::Twice<float> >(int)";
        let found = Dispatched::of(&BTreeSet::from([name.to_owned()]));
        assert!(found.has("loop") && !found.has("Twice") && !found.has("scale_kernel"));
        assert_eq!(found.with_word("Twice"), Some("loop"));
        assert_eq!(found.with_word("scale_kernel"), Some("loop"));
        assert_eq!(found.with_word("Thrice"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_name_is_too_odd(name in "(_Z)?[ -~é]{0,60}") {
            let _ = Dispatched::of(&BTreeSet::from([name]));
        }
    }
}
