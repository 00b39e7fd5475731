//! Several Docker hosts without a scheduler: `[docker]` of `study.toml`.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The Docker hosts that share a study's runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DockerPolicy {
    /// The hosts; each takes whole bugs.
    pub hosts: Vec<DockerHost>,
    /// The name or address, with or without a port, by which containers on the hosts reach the
    /// server; none: this machine's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Seconds for which a lost host is waited for, where no other can take its bugs.
    #[serde(default = "seconds")]
    pub wait_seconds: u32,
}

fn seconds() -> u32 {
    60
}

/// One Docker host: in `study.toml` its address alone, or a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DockerHost {
    /// `ssh://USER@HOST`, `tcp://HOST:PORT` with TLS, or `unix:///PATH`.
    pub address: String,
    /// What it is called in messages and records; none: the name in its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The folder with `ca.pem`, `cert.pem` and `key.pem` for `tcp://`; relative to the study.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certs: Option<String>,
    /// Runs at the same time; none: `run.jobs`, else one a processor, or one a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// The class of its hardware, where the user knows better than what the host says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The GPUs that runs on `cuda` are given, one each; none: `0`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
    /// How its containers reach the server, instead of `docker.server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The Docker network of its containers.
    pub network: String,
}

/// The table of a host.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    address: String,
    name: Option<String>,
    certs: Option<String>,
    jobs: Option<u32>,
    class: Option<String>,
    #[serde(default)]
    gpus: Vec<String>,
    server: Option<String>,
    #[serde(default = "bridge")]
    network: String,
}

fn bridge() -> String {
    "bridge".to_owned()
}

impl<'de> Deserialize<'de> for DockerHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Host;
        impl<'de> Visitor<'de> for Host {
            type Value = Table;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a host's address, or a table with `address`")
            }
            fn visit_str<E>(self, address: &str) -> Result<Table, E> {
                let address = address.to_owned();
                Ok(Table {
                    address,
                    name: None,
                    certs: None,
                    jobs: None,
                    class: None,
                    gpus: Vec::new(),
                    server: None,
                    network: bridge(),
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Table, A::Error> {
                Table::deserialize(MapAccessDeserializer::new(map))
            }
        }
        let Table { address, name, certs, jobs, class, gpus, server, network } =
            deserializer.deserialize_any(Host)?;
        Ok(Self { address, name, certs, jobs, class, gpus, server, network })
    }
}

impl DockerHost {
    /// What it is called: its `name`, else the machine of its address, `local` for a socket.
    #[must_use]
    pub fn name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let Some((scheme, rest)) = self.address.split_once("://") else {
            return self.address.clone();
        };
        if scheme == "unix" {
            return "local".to_owned();
        }
        let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place).trim_end_matches('/');
        let port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        match place.rsplit_once(':') {
            Some((machine, number)) if port(number) => machine.to_owned(),
            _ => place.to_owned(),
        }
    }

    fn check(&self) -> Result<(), (String, &'static str)> {
        let address = || format!("`{}`", self.address);
        let known = ["ssh://", "tcp://", "unix:///"]
            .iter()
            .any(|scheme| self.address.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        if !known || !is_one_word(&self.address) {
            return Err((address(), "ssh://USER@HOST, tcp://HOST:PORT or unix:///PATH"));
        }
        match (self.address.starts_with("tcp://"), &self.certs) {
            (true, None) => {
                let expected = "`certs` beside a tcp:// address: the folder with ca.pem, cert.pem \
                                and key.pem. Without TLS whoever is on the way is root there";
                return Err((address(), expected));
            }
            (false, Some(_)) => return Err((address(), "`certs` only beside a tcp:// address")),
            _ => {}
        }
        if self.jobs == Some(0) {
            return Err((format!("{} with jobs = 0", address()), "at least 1 run at a time"));
        }
        let mut gpus = self.gpus.clone();
        gpus.sort();
        gpus.dedup();
        if gpus.len() < self.gpus.len() || gpus.iter().any(String::is_empty) {
            return Err((format!("{} with gpus {:?}", address(), self.gpus), "each GPU once"));
        }
        let mut texts = vec![("name", self.name()), ("network", self.network.clone())];
        texts.extend(
            [("class", &self.class), ("certs", &self.certs), ("server", &self.server)]
                .into_iter()
                .filter_map(|(key, text)| Some((key, text.clone()?))),
        );
        for (key, text) in texts {
            let spaces = matches!(key, "class" | "certs");
            if text.trim().is_empty()
                || text.chars().any(char::is_control)
                || (!spaces && !is_one_word(&text))
            {
                let found = format!("{} with {key} {text:?}", address());
                return Err((found, "a name of one word that is not empty"));
            }
        }
        Ok(())
    }
}

impl DockerPolicy {
    /// The first value that cannot be used: key, what stands there, what may.
    ///
    /// # Errors
    /// If there is one.
    pub fn check(&self) -> Result<(), (&'static str, String, &'static str)> {
        const KEY: &str = "docker.hosts";
        if self.hosts.is_empty() {
            return Err((KEY, "empty".to_owned(), "at least one host"));
        }
        for (at, host) in self.hosts.iter().enumerate() {
            host.check().map_err(|(found, expected)| (KEY, found, expected))?;
            let before = self.hosts.iter().take(at);
            for other in before {
                if other.address == host.address {
                    return Err((KEY, format!("`{}` twice", host.address), "each host once"));
                }
                if other.name() == host.name() {
                    let expected = "hosts of different names; give one of them a `name`";
                    return Err((KEY, format!("two hosts named `{}`", host.name()), expected));
                }
            }
        }
        match &self.server {
            Some(server) if server.is_empty() || !is_one_word(server) => {
                Err(("docker.server", format!("{server:?}"), "a name or a name and a port"))
            }
            _ => Ok(()),
        }
    }
}

fn is_one_word(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DockerPolicy, String> {
        let policy: DockerPolicy = toml::from_str(text).map_err(|error| error.to_string())?;
        match policy.check() {
            Ok(()) => Ok(policy),
            Err((key, found, expected)) => Err(format!("{key} is {found}; expected {expected}")),
        }
    }

    #[test]
    fn a_host_is_an_address_or_a_table() {
        let policy = read(
            "hosts = [\"ssh://me@gpu1:2222\", \"unix:///run/docker.sock\",\n\
             {address = \"tcp://gpu2:2376\", certs = \"certs/gpu2\", jobs = 4, class = \"a100 80G\"},\n\
             {address = \"ssh://[fe80::1]\", name = \"six\", gpus = [\"0\", \"1\"]}]\n\
             server = \"desk:4747\"",
        )
        .unwrap();
        let names: Vec<String> = policy.hosts.iter().map(DockerHost::name).collect();
        assert_eq!(names, ["gpu1", "local", "gpu2", "six"]);
        assert_eq!(policy.hosts[2].jobs, Some(4));
        assert_eq!((&*policy.hosts[0].network, policy.hosts[0].jobs), ("bridge", None));
        let written = toml::to_string(&policy).unwrap();
        assert_eq!(read(&written).unwrap(), policy);
    }

    #[test]
    fn what_cannot_be_a_host_is_refused_with_what_can() {
        for (text, said) in [
            ("hosts = []", "at least one host"),
            ("", "hosts"),
            ("hosts = [3]", "a host's address"),
            ("hosts = [{name = \"x\"}]", "address"),
            ("hosts = [{address = \"ssh://a\", gpu = 1}]", "gpu"),
            ("hosts = [\"gpu1\"]", "ssh://USER@HOST"),
            ("hosts = [\"http://gpu1\"]", "tcp://HOST:PORT"),
            ("hosts = [\"ssh://a b\"]", "ssh://USER@HOST"),
            ("hosts = [\"tcp://gpu1:2375\"]", "certs"),
            ("hosts = [{address = \"ssh://a\", certs = \"x\"}]", "only beside"),
            ("hosts = [{address = \"ssh://a\", jobs = 0}]", "at least 1"),
            ("hosts = [{address = \"ssh://a\", class = \"\"}]", "not empty"),
            ("hosts = [{address = \"ssh://a\", gpus = [\"0\", \"0\"]}]", "each GPU once"),
            ("hosts = [\"ssh://a\", \"ssh://a\"]", "each host once"),
            ("hosts = [\"ssh://a\", \"ssh://b@a\"]", "give one of them a `name`"),
            ("hosts = [\"ssh://a\"]\nserver = \"\"", "docker.server"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
