//! What the environment says, and the variables that must be set before libtorch is loaded.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::RunError;
use crate::session::Opening;

/// Tells a process that was started anew for its environment.
const MARK: &str = "REPRODUCEML_CONTROLLED";

/// Read when OpenMP or a BLAS starts; in the order of the report.
pub const CONTROLS: [(&str, &str); 6] = [
    ("BLIS_NUM_THREADS", "1"),
    ("MKL_DYNAMIC", "FALSE"),
    ("MKL_NUM_THREADS", "1"),
    ("OMP_DYNAMIC", "FALSE"),
    ("OMP_NUM_THREADS", "1"),
    ("OPENBLAS_NUM_THREADS", "1"),
];

/// The environment's variables that are text.
pub type Variables = BTreeMap<String, String>;

/// This process's.
pub fn variables() -> Variables {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// What the variables ask for.
///
/// # Errors
/// [`RunError::Job`] naming the variable that is missing or wrong.
pub fn opening(variables: &Variables) -> Result<Opening, RunError> {
    let Some(address) = variables.get("REPRODUCEML_SERVER").filter(|text| !text.is_empty()) else {
        return Err(RunError::Job("REPRODUCEML_SERVER is not set".to_owned()));
    };
    Ok(Opening {
        address: address.clone(),
        ticket: ticket(variables)?,
        token: variables.get("REPRODUCEML_TOKEN").filter(|text| !text.is_empty()).cloned(),
        timeout: seconds(variables, "REPRODUCEML_TIMEOUT", 60.0)?,
        patience: seconds(variables, "REPRODUCEML_PATIENCE", 600.0)?,
        cache: variables
            .get("REPRODUCEML_CACHE")
            .filter(|text| !text.is_empty())
            .map(PathBuf::from),
    })
}

fn ticket(variables: &Variables) -> Result<String, RunError> {
    if let Some(ticket) = variables.get("REPRODUCEML_TICKET").filter(|text| !text.is_empty()) {
        return Ok(ticket.clone());
    }
    let Some(path) = variables.get("REPRODUCEML_TICKET_FILE") else {
        return Err(RunError::Job(
            "neither REPRODUCEML_TICKET nor REPRODUCEML_TICKET_FILE is set".to_owned(),
        ));
    };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) => {
            Err(RunError::Job(format!("REPRODUCEML_TICKET_FILE cannot be read: {path}: {error}")))
        }
    }
}

fn seconds(variables: &Variables, name: &str, otherwise: f64) -> Result<Duration, RunError> {
    let text = variables.get(name).filter(|text| !text.is_empty());
    let number = text.map_or(Ok(otherwise), |text| text.parse());
    number
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            let text = text.map_or("", String::as_str);
            RunError::Job(format!("{name} is {text:?}, no number of seconds"))
        })
}

/// Where an artifact has its libtorch.
pub fn artifact_libraries(artifact: &Path) -> PathBuf {
    artifact.join("site/torch/lib")
}

/// What must be in the environment and is not: controls, and the folder of the artifact's libtorch.
/// Nothing for a process that was started anew already.
pub fn missing(variables: &Variables) -> Vec<(&'static str, OsString)> {
    if variables.get(MARK).is_some_and(|text| text == "1") {
        return Vec::new();
    }
    let is_set =
        |(name, value): &(&str, &str)| variables.get(*name).is_some_and(|found| found == value);
    let mut missing: Vec<_> = CONTROLS
        .iter()
        .filter(|control| !is_set(control))
        .map(|(name, value)| (*name, OsString::from(value)))
        .collect();
    let artifact = variables.get("REPRODUCEML_ARTIFACT").map(Path::new);
    if let Some(folder) = artifact.map(artifact_libraries).filter(|folder| folder.is_dir()) {
        let mut path = folder.into_os_string();
        if let Some(before) = variables.get("LD_LIBRARY_PATH").filter(|text| !text.is_empty()) {
            path.push(":");
            path.push(before);
        }
        missing.push(("LD_LIBRARY_PATH", path));
    }
    missing
}

/// Starts this program anew with `missing` in its environment; returns only if that fails.
pub fn restart(missing: Vec<(&'static str, OsString)>) -> std::io::Error {
    match std::env::current_exe() {
        Ok(program) => std::process::Command::new(program).envs(missing).env(MARK, "1").exec(),
        Err(error) => error,
    }
}

/// One entry a control, as in every client's report.
pub fn report(variables: &Variables) -> Vec<Value> {
    CONTROLS
        .iter()
        .map(|(name, value)| match variables.get(*name) {
            Some(found) if found == value => control(name, (*value).into(), "set", ""),
            found => {
                let detail = format!("the environment has {found:?}");
                control(name, (*value).into(), "failed", &detail)
            }
        })
        .collect()
}

/// An entry of the report: `set`, `unavailable` or `failed`.
pub fn control(name: &str, value: Value, status: &str, detail: &str) -> Value {
    json!({"name": name, "value": value, "status": status, "detail": detail})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_opening_needs_a_server_and_a_ticket() {
        let refused = |pairs: &[(&str, &str)]| opening(&with(pairs)).unwrap_err().to_string();
        assert!(refused(&[]).contains("REPRODUCEML_SERVER"));
        let server = ("REPRODUCEML_SERVER", "unix:/s");
        assert!(refused(&[server]).contains("REPRODUCEML_TICKET_FILE"));
        assert!(refused(&[server, ("REPRODUCEML_TICKET_FILE", "/none")]).contains("/none"));
        let ticket = ("REPRODUCEML_TICKET", "t");
        for text in ["soon", "-1", "0", "nan", "inf"] {
            let said = refused(&[server, ticket, ("REPRODUCEML_PATIENCE", text)]);
            assert!(said.contains("REPRODUCEML_PATIENCE"), "{said}");
        }
        let opening = opening(&with(&[server, ticket, ("REPRODUCEML_TIMEOUT", "1.5")])).unwrap();
        assert_eq!(opening.timeout, Duration::from_millis(1500));
        assert_eq!(opening.patience, Duration::from_secs(600));
        assert_eq!(opening.token, None);
    }

    #[test]
    fn the_ticket_may_lie_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "rml1.x\n").unwrap();
        let path = file.path().to_str().unwrap();
        let variables = with(&[("REPRODUCEML_SERVER", "s"), ("REPRODUCEML_TICKET_FILE", path)]);
        assert_eq!(opening(&variables).unwrap().ticket, "rml1.x");
    }

    #[test]
    fn a_process_is_started_anew_once() {
        assert_eq!(missing(&with(&[])).len(), CONTROLS.len());
        assert_eq!(missing(&with(&CONTROLS)), []);
        assert_eq!(missing(&with(&[(MARK, "1")])), []);
        let folder = tempfile::tempdir().unwrap();
        let lib = artifact_libraries(folder.path());
        std::fs::create_dir_all(&lib).unwrap();
        let mut variables = with(&CONTROLS);
        let artifact = folder.path().to_str().unwrap().to_owned();
        variables.insert("REPRODUCEML_ARTIFACT".to_owned(), artifact);
        variables.insert("LD_LIBRARY_PATH".to_owned(), "/other".to_owned());
        let expected = OsString::from(format!("{}:/other", lib.display()));
        assert_eq!(missing(&variables), [("LD_LIBRARY_PATH", expected)]);
    }

    #[test]
    fn controls_are_reported_one_by_one() {
        let mut variables = with(&CONTROLS);
        variables.insert("OMP_NUM_THREADS".to_owned(), "4".to_owned());
        let report = report(&variables);
        let failed: Vec<_> = report.iter().filter(|entry| entry["status"] == "failed").collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed.first().unwrap()["name"], "OMP_NUM_THREADS");
    }
}
