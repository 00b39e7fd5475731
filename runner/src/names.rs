//! Names that a person may write: the models of the training client, and a user's own.

use std::path::Path;

use crate::plan::PlanError;

/// The models that the training client has for a framework.
#[derive(Debug, Clone, Default)]
pub struct Models {
    /// In their order; `None` where the client does not list them, so that it alone can tell.
    names: Option<Vec<String>>,
}

impl Models {
    /// Reads what the training client in folder `client` lists for `framework`: the file
    /// `models/<framework>/models.json`, from a name to a module and a class.
    ///
    /// # Errors
    /// If the client has no layer for the framework, or its list cannot be read.
    pub fn read(client: &Path, framework: &str) -> Result<Self, PlanError> {
        let package = client.join("reproduceml_client");
        let layers = package.join("frameworks");
        if !layers.join(format!("{framework}.py")).is_file() {
            let mut known: Vec<String> = std::fs::read_dir(&layers)
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| entry.file_name().into_string().ok())
                .filter_map(|name| name.strip_suffix(".py").map(str::to_owned))
                .filter(|name| name != "base" && name != "__init__")
                .collect();
            known.sort();
            return Err(PlanError::Value(format!(
                "framework.name is `{framework}`; expected one that the training client has a \
                 layer for: {}",
                known.join(", ")
            )));
        }
        let path = package.join("models").join(framework).join("models.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { names: None });
            }
            Err(error) => return Err(PlanError::Value(format!("{}: {error}", path.display()))),
        };
        let listed: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text)
            .map_err(|error| PlanError::Value(format!("{}: {error}", path.display())))?;
        let mut names: Vec<String> = listed.into_iter().map(|(name, _)| name).collect();
        names.sort();
        Ok(Self { names: Some(names) })
    }

    /// Whether the client itself has a model of this name, as far as it lists them.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.iter().any(|known| known == name))
    }

    /// The error for a name that is none.
    pub(crate) fn unknown(&self, name: &str, own: Option<&str>) -> PlanError {
        let names = self.names.as_deref().unwrap_or_default().join(", ");
        let own = own.map_or(String::new(), |file| format!(", or a class in {file}"));
        PlanError::Value(format!("there is no model `{name}`; expected one of: {names}{own}"))
    }
}

/// Whether Python source defines a class of this name at its top level.
pub(crate) fn defines_class(source: &str, name: &str) -> bool {
    source.lines().any(|line| {
        line.strip_prefix("class ")
            .and_then(|rest| rest.trim_start().strip_prefix(name))
            .is_some_and(|rest| rest.trim_start().starts_with(['(', ':']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/python"))
    }

    #[test]
    fn the_client_lists_its_models() {
        let models = Models::read(client(), "pytorch").unwrap();
        for name in ["lenet", "vgg-x", "vgg-x-det", "vgg11", "vgg16", "alexnet"] {
            assert!(models.has(name), "{name}");
        }
        assert!(!models.has("vgg-y"));
        let error = models.unknown("vgg-y", Some("mine.py")).to_string();
        assert!(error.contains("lenet") && error.contains("mine.py"), "{error}");
        let error = Models::read(client(), "jax").unwrap_err().to_string();
        assert!(error.contains("pytorch, tinynn"), "{error}");
    }

    #[test]
    fn classes_are_found_where_they_begin() {
        let source = "import x\nclass Wide(Model):\n    class Inner:\n        pass\nclass Bare:\n";
        assert!(defines_class(source, "Wide") && defines_class(source, "Bare"));
        for not in ["Wid", "Inner", "Model", ""] {
            assert!(!defines_class(source, not), "{not}");
        }
    }
}
