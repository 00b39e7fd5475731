//! An image as `docker save` writes it: where its layers lie in the archive, and smaller archives
//! that `docker load` takes, with a beginning of the layers each.
//!
//! A daemon takes an archive without the file of a layer that it has, since it looks for a layer by
//! the digests of it and of those beneath. So an image can be brought layer by layer, and what has
//! arrived is never sent again: after each layer the daemon holds an image of the layers so far.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// One image of an archive's `manifest.json`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The part of an image's configuration that names its layers.
#[derive(Debug, Deserialize)]
struct Config {
    architecture: Option<String>,
    os: Option<String>,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Where a layer's bytes lie in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// Its name in the archive.
    name: String,
    offset: u64,
    size: u64,
}

/// An archive with one image.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    config_name: String,
    config: Vec<u8>,
    architecture: String,
    os: String,
    digests: Vec<String>,
    layers: Vec<Place>,
}

/// The label of an image that is a beginning of another one.
pub(crate) const PART_LABEL: &str = "reproduceml.part-of";

fn wrong(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is no archive of an image: {what}"))
}

impl Archive {
    /// Reads what an archive holds; its layers stay where they are.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut places: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut links: BTreeMap<String, String> = BTreeMap::new();
        let mut small: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut archive = tar::Archive::new(File::open(path)?);
        for entry in archive.entries_with_seek()? {
            let mut entry = entry?;
            let name = entry.path()?.to_string_lossy().into_owned();
            if let Some(target) = entry.link_name()? {
                links.insert(name, target.to_string_lossy().into_owned());
                continue;
            }
            let size = entry.size();
            places.insert(name.clone(), (entry.raw_file_position(), size));
            if size <= SMALL {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                small.insert(name, bytes);
            }
        }
        let manifest = small.get("manifest.json").ok_or_else(|| wrong("no manifest.json"))?;
        let entries: Vec<Entry> = serde_json::from_slice(manifest).map_err(wrong)?;
        let Ok([entry]) = <[Entry; 1]>::try_from(entries) else {
            return Err(wrong("not exactly one image"));
        };
        let config = small.remove(&entry.config).ok_or_else(|| wrong("no configuration"))?;
        let parsed: Config = serde_json::from_slice(&config).map_err(wrong)?;
        let digests = parsed.rootfs.diff_ids;
        if digests.len() != entry.layers.len() || digests.is_empty() {
            return Err(wrong("its layers are not those of its configuration"));
        }
        let layers = entry.layers.iter().map(|name| {
            // A layer that is there twice is a link the second time.
            let target = links.get(name).map(|target| resolve(name, target));
            let (offset, size) = places
                .get(target.as_ref().unwrap_or(name))
                .copied()
                .ok_or_else(|| wrong(format!("no {name}")))?;
            Ok(Place { name: name.clone(), offset, size })
        });
        Ok(Self {
            path: path.to_owned(),
            config_name: entry.config,
            layers: layers.collect::<io::Result<_>>()?,
            config,
            architecture: parsed.architecture.unwrap_or_else(|| "amd64".into()),
            os: parsed.os.unwrap_or_else(|| "linux".into()),
            digests,
        })
    }

    /// The digests of the unpacked layers, the lowest first.
    pub(crate) fn digests(&self) -> &[String] {
        &self.digests
    }

    /// The image's own identity: the digest of its configuration.
    pub(crate) fn configuration(&self) -> &[u8] {
        &self.config
    }

    /// Bytes of the layers in a range.
    pub(crate) fn bytes(&self, layers: std::ops::Range<usize>) -> u64 {
        self.layers.get(layers).unwrap_or_default().iter().map(|layer| layer.size).sum()
    }

    /// The parts of an archive with the lowest `upto` layers, of which the first `there` are left
    /// out. If that is not all of the image, it is an image of its own, part of `image`.
    pub(crate) fn part(&self, image: &str, there: usize, upto: usize) -> io::Result<Part> {
        let whole = upto == self.layers.len();
        let (name, config) = if whole {
            (self.config_name.clone(), self.config.clone())
        } else {
            let config = serde_json::json!({
                "architecture": self.architecture,
                "os": self.os,
                "config": {"Labels": {PART_LABEL: image}},
                "rootfs": {"type": "layers", "diff_ids": self.digests.get(..upto)},
            });
            (format!("part-{upto}.json"), serde_json::to_vec(&config).map_err(wrong)?)
        };
        let used = self.layers.get(..upto).unwrap_or_default();
        let entry = Entry {
            config: name.clone(),
            repo_tags: None,
            layers: used.iter().map(|layer| layer.name.clone()).collect(),
        };
        let manifest = serde_json::to_vec(&[entry]).map_err(wrong)?;
        let mut head = Vec::new();
        for (name, bytes) in [("manifest.json", &manifest), (&*name, &config)] {
            header(name, bytes.len() as u64, &mut head)?;
            head.extend_from_slice(bytes);
            pad(bytes.len() as u64, &mut head);
        }
        let mut names = BTreeSet::new();
        let sent = used.iter().skip(there).filter(|layer| names.insert(layer.name.clone()));
        Ok(Part { path: self.path.clone(), head, layers: sent.cloned().collect() })
    }
}

/// Files of an archive up to this size are read at once: manifests and configurations.
const SMALL: u64 = 1 << 20;

/// The name that a link in an archive leads to, as far as `..` and a sibling go.
fn resolve(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn header(name: &str, size: u64, out: &mut Vec<u8>) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
    Ok(())
}

/// Fills a file's last block of 512 bytes.
fn pad(size: u64, out: &mut Vec<u8>) {
    let over = usize::try_from(size % 512).unwrap_or(0);
    out.resize(out.len() + (512 - over) % 512, 0);
}

/// An archive that is made as it is read.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    head: Vec<u8>,
    layers: Vec<Place>,
}

/// Bytes that are handed on at once.
const PIECE: usize = 1 << 20;

impl Part {
    /// Hands on the archive's bytes, until somebody does not want any more.
    pub(crate) fn write(&self, mut take: impl FnMut(Vec<u8>) -> bool) -> io::Result<()> {
        if !take(self.head.clone()) {
            return Ok(());
        }
        let mut file = File::open(&self.path)?;
        for layer in &self.layers {
            let mut block = Vec::new();
            header(&layer.name, layer.size, &mut block)?;
            file.seek(SeekFrom::Start(layer.offset))?;
            let mut left = layer.size;
            while left > 0 {
                let mut piece = Vec::with_capacity(PIECE);
                let now = left.min(PIECE as u64);
                if (&mut file).take(now).read_to_end(&mut piece)? as u64 != now {
                    return Err(wrong("it ends too early"));
                }
                left -= now;
                block.append(&mut piece);
                if !take(std::mem::take(&mut block)) {
                    return Ok(());
                }
            }
            pad(layer.size, &mut block);
            if !take(block) {
                return Ok(());
            }
        }
        take(vec![0; 1024]);
        Ok(())
    }
}

/// How many of an image's layers, from the lowest, are beneath some image of a daemon, whose lists
/// of layers these are.
pub(crate) fn layers_there(wanted: &[String], images: &[Vec<String>]) -> usize {
    let shared = |its: &Vec<String>| wanted.iter().zip(its).take_while(|(a, b)| a == b).count();
    images.iter().map(shared).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(folder: &Path) -> PathBuf {
        let path = folder.join("image.tar");
        let mut archive = tar::Builder::new(File::create(&path).unwrap());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            archive.append_data(&mut header, name, bytes).unwrap();
        };
        add("a/layer.tar", &[b'a'; 700]);
        add("b/layer.tar", &vec![b'b'; 3 << 20]);
        add("c.json", br#"{"os":"linux","rootfs":{"type":"layers","diff_ids":["1","2","1"]}}"#);
        let layers = r#"["a/layer.tar","b/layer.tar","d/layer.tar"]"#;
        let text = format!(r#"[{{"Config":"c.json","RepoTags":["x:y"],"Layers":{layers}}}]"#);
        add("manifest.json", text.as_bytes());
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        archive.append_link(&mut link, "d/layer.tar", "../a/layer.tar").unwrap();
        archive.finish().unwrap();
        path
    }

    fn unpacked(part: &Part) -> BTreeMap<String, Vec<u8>> {
        let mut bytes = Vec::new();
        part.write(|piece| {
            bytes.extend(piece);
            true
        })
        .unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, content)
        });
        entries.collect()
    }

    #[test]
    fn parts_of_an_image_hold_the_layers_that_are_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::read(&saved(folder.path())).unwrap();
        assert_eq!(archive.digests(), ["1", "2", "1"]);
        assert_eq!(archive.bytes(0..2), 700 + (3 << 20));

        let first = unpacked(&archive.part("sha256:x", 0, 1).unwrap());
        assert_eq!(first["a/layer.tar"], [b'a'; 700]);
        let config: serde_json::Value = serde_json::from_slice(&first["part-1.json"]).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!(["1"]));
        assert_eq!(config["config"]["Labels"][PART_LABEL], "sha256:x");
        assert!(!first.contains_key("b/layer.tar"));

        let last = unpacked(&archive.part("sha256:x", 1, 3).unwrap());
        assert!(!last.contains_key("a/layer.tar"), "it is there");
        assert_eq!(last["b/layer.tar"].len(), 3 << 20);
        assert_eq!(last["d/layer.tar"], [b'a'; 700], "a link is followed");
        assert_eq!(last["c.json"], archive.configuration());
        let manifest: Vec<Entry> = serde_json::from_slice(&last["manifest.json"]).unwrap();
        assert_eq!(manifest[0].layers.len(), 3, "all are named");
    }

    #[test]
    fn layers_are_there_only_on_top_of_the_same_ones() {
        let names = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        let wanted = names(&["1", "2", "3"]);
        let there = |images: &[&[&str]]| {
            layers_there(&wanted, &images.iter().map(|one| names(one)).collect::<Vec<_>>())
        };
        assert_eq!(there(&[]), 0);
        assert_eq!(there(&[&["2", "3"]]), 0);
        assert_eq!(there(&[&["1", "3"], &["1", "2", "9"]]), 2);
        assert_eq!(there(&[&["1", "2", "3", "4"]]), 3);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "no archive").unwrap();
        assert!(Archive::read(&path).is_err());
        std::fs::write(&path, vec![0; 1024]).unwrap();
        assert!(Archive::read(&path).unwrap_err().to_string().contains("manifest.json"));
    }
}
