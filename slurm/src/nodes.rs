//! Classes of nodes: what a cluster says of its hardware, and on which class a bug's runs go.
//!
//! Hardware makes two runs differ, so all runs of one bug go to nodes of which the cluster says the
//! same: processors, memory, GPUs, features, operating system. The class is recorded with the
//! study when a bug's first run is handed over, and holds for those of later calls. What the
//! cluster does not know, such as a GPU's driver, the manifests tell, and the pair is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use study::placed::{Class, Placed};
use study::{SameHardware, SlurmPolicy};

use crate::error::SlurmError;
use crate::work::Stage;

/// What `scontrol show nodes` says of a node that makes it one of its class.
const TRAITS: &[&str] = &[
    "ActiveFeatures",
    "Arch",
    "CPUTot",
    "CoresPerSocket",
    "Gres",
    "OS",
    "RealMemory",
    "Sockets",
    "ThreadsPerCore",
];

/// The nodes of a cluster, by class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Nodes(BTreeMap<Class, BTreeSet<String>>);

impl Nodes {
    /// Reads what `scontrol show nodes --oneliner` printed, as far as the policy's partition goes.
    pub(crate) fn read(text: &str, policy: &SlurmPolicy) -> Self {
        let mut classes: BTreeMap<Class, BTreeSet<String>> = BTreeMap::new();
        for line in text.lines() {
            let says = fields(line);
            let Some(name) = says.get("NodeName") else { continue };
            let partitions = says.get("Partitions").map_or("", String::as_str);
            let wanted = policy.partition.as_deref().unwrap_or_default();
            let inside = |one: &str| partitions.split(',').any(|its| its == one);
            if !wanted.is_empty() && !wanted.split(',').any(inside) {
                continue;
            }
            let mut class: BTreeMap<String, String> = TRAITS
                .iter()
                .map(|name| {
                    let value = says.get(*name).cloned().unwrap_or_default();
                    ((*name).to_owned(), plain(name, &value))
                })
                .collect();
            if policy.same == SameHardware::Node {
                class.insert("NodeName".to_owned(), name.clone());
            }
            classes.entry(Class(class)).or_default().insert(name.clone());
        }
        Self(classes)
    }

    #[cfg(test)]
    pub(crate) fn classes(&self) -> impl Iterator<Item = (&Class, usize)> {
        self.0.iter().map(|(class, nodes)| (class, nodes.len()))
    }

    /// The options of `sbatch` that keep a job on nodes of a class. `--constraint` could not do
    /// it: it names features that a node must have, and none that it must not have.
    pub(crate) fn keep_on(&self, class: &Class, policy: &SlurmPolicy) -> Vec<String> {
        let its = self.0.get(class);
        let mut others: Vec<&str> = policy.exclude.iter().map(String::as_str).collect();
        if let Some(nodes) = its.filter(|nodes| nodes.len() == 1 && self.0.len() > 1) {
            let wanted = nodes.iter().map(|node| format!("--nodelist={node}"));
            return others
                .iter()
                .map(|spared| format!("--exclude={spared}"))
                .chain(wanted)
                .collect();
        }
        let rest = self.0.iter().filter(|(one, _)| *one != class);
        others.extend(rest.flat_map(|(_, nodes)| nodes).map(String::as_str));
        if others.is_empty() { Vec::new() } else { vec![format!("--exclude={}", others.join(","))] }
    }
}

/// `Name=value` pairs of a line, in which values may hold spaces.
fn fields(line: &str) -> BTreeMap<String, String> {
    let mut all: Vec<(String, String)> = Vec::new();
    for word in line.split(' ') {
        let named = word.split_once('=').filter(|(name, _)| {
            name.starts_with(|c: char| c.is_ascii_uppercase())
                && name.chars().all(|c| c.is_ascii_alphanumeric())
        });
        match (named, all.last_mut()) {
            (Some((name, value)), _) => all.push((name.to_owned(), value.to_owned())),
            (None, Some((_, value))) => {
                value.push(' ');
                value.push_str(word);
            }
            (None, None) => {}
        }
    }
    all.into_iter().map(|(name, value)| (name, value.trim().to_owned())).collect()
}

/// A trait's value without what depends on the moment or the node.
fn plain(name: &str, value: &str) -> String {
    match name {
        // `gpu:a100:4(S:0-1)`: which sockets a GPU is near differs where nothing else does.
        "Gres" => {
            let mut text = value.to_owned();
            while let Some(begin) = text.find("(S:") {
                let end = text[begin..].find(')').map_or(text.len(), |length| begin + length + 1);
                text.replace_range(begin..end, "");
            }
            text
        }
        // The order of features is that of a person who wrote them.
        "ActiveFeatures" => {
            let mut features: Vec<&str> = value.split(',').collect();
            features.sort_unstable();
            features.join(",")
        }
        _ => value.to_owned(),
    }
}

/// The class that a bug's runs are to go to: the one it has, else of those that are not
/// `refused` the one with the fewest bugs a node; `None` if none is left.
pub(crate) fn choose(
    placed: &Placed<Class>,
    stage: Stage,
    bug: &str,
    nodes: &Nodes,
    refused: &BTreeMap<Class, String>,
) -> Result<Option<Class>, SlurmError> {
    if let Some(class) = placed.get(bug) {
        if nodes.0.contains_key(class) && !refused.contains_key(class) {
            return Ok(Some(class.clone()));
        }
        return Err(SlurmError::ClassGone {
            stage,
            bug: bug.to_owned(),
            class: class.to_string(),
            path: placed.path().to_owned(),
        });
    }
    let load = |class: &Class| {
        let bugs = placed.places().filter(|one| *one == class).count();
        let nodes = nodes.0.get(class).map_or(0, BTreeSet::len).max(1);
        // Bugs a node, compared as whole numbers.
        (bugs * 1_000_000 / nodes, usize::MAX - nodes)
    };
    let left = nodes.0.keys().filter(|class| !refused.contains_key(class));
    Ok(left.min_by_key(|class| load(class)).cloned())
}

/// Where classes are recorded in a study's folder for Slurm.
pub(crate) fn file(folder: &Path) -> PathBuf {
    folder.join("classes.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, features: &str, gres: &str, partitions: &str) -> String {
        format!(
            "NodeName={name} Arch=x86_64 CoresPerSocket=8  CPUAlloc=0 CPUTot=16 CPULoad=0.1 \
             AvailableFeatures={features} ActiveFeatures={features} Gres={gres} NodeAddr={name} \
             OS=Linux 6.1.0-13-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.55-1  RealMemory=2000 \
             FreeMem={len} Sockets=2 State=IDLE ThreadsPerCore=1 Partitions={partitions} \
             BootTime=2026-01-01T00:00:0{len}",
            len = name.len(),
        )
    }

    fn policy(same: &str, partition: Option<&str>) -> SlurmPolicy {
        let mut policy: SlurmPolicy =
            serde_json::from_value(serde_json::json!({"container": "none", "same": same})).unwrap();
        policy.partition = partition.map(str::to_owned);
        policy
    }

    fn cluster() -> String {
        [
            node("a1", "zen,old", "gpu:a100:4(S:0-1)", "main,gpu"),
            node("a22", "old,zen", "gpu:a100:4(S:0)", "main"),
            node("b1", "sky", "(null)", "main"),
            node("c1", "zen,old", "gpu:h100:4", "gpu"),
        ]
        .join("\n")
    }

    #[test]
    fn values_may_hold_spaces() {
        let says = fields(&cluster());
        assert_eq!(says["OS"], "Linux 6.1.0-13-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.55-1");
        assert_eq!(says["RealMemory"], "2000");
    }

    #[test]
    fn nodes_that_are_the_same_are_one_class() {
        let all = policy("class", None);
        let nodes = Nodes::read(&cluster(), &all);
        assert_eq!(nodes.classes().map(|(_, n)| n).sum::<usize>(), 4);
        let (class, _) = nodes.classes().find(|(_, nodes)| *nodes == 2).unwrap();
        assert_eq!(nodes.keep_on(class, &all), ["--exclude=c1,b1"], "all but its own");
        let (single, _) = nodes.classes().find(|(class, _)| class.0["Gres"] == "(null)").unwrap();
        assert_eq!(nodes.keep_on(single, &all), ["--nodelist=b1"]);
        assert_eq!(Nodes::read(&cluster(), &policy("node", None)).classes().count(), 4);
        let gpu = policy("class", Some("gpu"));
        assert_eq!(Nodes::read(&cluster(), &gpu).classes().count(), 2);
        // Where there is one class there is nothing to keep out of, but what the study excludes.
        let one = Nodes::read(&node("a1", "x", "", "p"), &all);
        let (class, _) = one.classes().next().unwrap();
        assert!(one.keep_on(class, &all).is_empty());
        let spared = SlurmPolicy { exclude: Some("a[7-9]".into()), ..all };
        assert_eq!(one.keep_on(class, &spared), ["--exclude=a[7-9]"]);
    }

    #[test]
    fn a_bug_stays_where_its_runs_are_and_bugs_are_spread() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slurm/classes.json");
        let nodes = Nodes::read(&cluster(), &policy("class", None));
        let none = BTreeMap::new();
        let mut placed = Placed::read(path.clone(), &BTreeSet::new()).unwrap();
        let mut took = BTreeMap::new();
        for bug in ["pr1", "pr2", "pr3", "pr4"] {
            let class = choose(&placed, Stage::Run, bug, &nodes, &none).unwrap().unwrap();
            placed.fix(bug, &class).unwrap();
            assert_eq!(
                choose(&placed, Stage::Run, bug, &nodes, &none).unwrap().as_ref(),
                Some(&class)
            );
            *took.entry(class).or_insert(0) += 1;
        }
        let most = took.iter().find(|(_, bugs)| **bugs == 2).unwrap().0;
        assert_eq!(nodes.0[most].len(), 2, "two nodes take two bugs: {took:?}");

        // Another call: what has runs stays, what has none is free again.
        let begun = BTreeSet::from(["pr1".to_owned()]);
        let first = placed.get("pr1").unwrap().clone();
        let placed = Placed::read(path.clone(), &begun).unwrap();
        assert_eq!(
            choose(&placed, Stage::Run, "pr1", &nodes, &none).unwrap().as_ref(),
            Some(&first)
        );
        assert!(placed.get("pr2").is_none());
        let refused = BTreeMap::from([(first, "no".to_owned())]);
        let error = choose(&placed, Stage::Run, "pr1", &nodes, &refused).unwrap_err().to_string();
        assert!(error.contains("pr1") && error.contains("classes.json"), "{error}");
        let all = nodes.classes().map(|(class, _)| (class.clone(), String::new())).collect();
        assert_eq!(choose(&placed, Stage::Run, "pr9", &nodes, &all).unwrap(), None);
        std::fs::write(&path, "no json").unwrap();
        assert!(Placed::<Class>::read(path, &begun).is_err());
    }
}
