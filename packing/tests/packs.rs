//! Packs that are sound, damaged, and hostile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use reproduceml_packing::{
    About, Limits, Manifest, PublicKey, ReadError, Signature, SigningKey, Source, Unpacked, unpack,
    write,
};

type Members = Vec<(String, Vec<u8>)>;

fn about() -> About {
    About {
        study: "example".into(),
        program: "reproduceml 0".into(),
        artifacts: false,
        predictions: true,
    }
}

fn key(name: &str) -> SigningKey {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    SigningKey::read(&keys.join(format!("{name}.pem"))).unwrap()
}

fn long() -> String {
    format!("artifacts/{}/file.py", "deep/".repeat(40))
}

fn members() -> Vec<(String, Source)> {
    vec![
        ("rows/runs.jsonl".into(), Source::Bytes(b"{\"run\":0}\n".to_vec())),
        ("study.toml".into(), Source::Bytes(b"[study]\n".to_vec())),
        (long().replace("//", "/"), Source::Bytes(b"import this\n".to_vec())),
        ("artifacts/link".into(), Source::Link("../../etc/passwd".into())),
        ("empty".into(), Source::Bytes(Vec::new())),
    ]
}

fn pack(folder: &Path, key: Option<&SigningKey>) -> PathBuf {
    let path = folder.join("pack");
    let mut out = std::fs::File::create(&path).unwrap();
    write(&mut out, &path, about(), members(), key).unwrap();
    path
}

fn open(file: &Path) -> Result<(Unpacked, BTreeMap<String, Vec<u8>>), ReadError> {
    let into = tempfile::tempdir().unwrap();
    let unpacked = unpack(file, into.path(), Limits { bytes: 1 << 20 }, |_| true)?;
    let mut files = BTreeMap::new();
    for member in &unpacked.manifest.files {
        if let Ok(bytes) = std::fs::read(into.path().join(&member.path)) {
            files.insert(member.path.clone(), bytes);
        }
    }
    Ok((unpacked, files))
}

/// The members of a pack as they lie in it.
fn raw(file: &Path) -> Vec<(String, Vec<u8>)> {
    let text = zstd::decode_all(std::fs::File::open(file).unwrap()).unwrap();
    let mut archive = tar::Archive::new(&*text);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (name, bytes)
    });
    entries.collect()
}

fn header(kind: tar::EntryType, name: &[u8], bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.set_size(bytes);
    header.set_entry_type(kind);
    header.set_mode(0o777);
    header.set_cksum();
    header
}

/// An archive of any members, whatever their names.
fn build(members: &[(&str, &[u8])]) -> tar::Builder<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        if name.len() > 99 {
            let mut header = header(tar::EntryType::Regular, b"x", bytes.len() as u64);
            archive.append_data(&mut header, name, *bytes).unwrap();
        } else {
            let header = header(tar::EntryType::Regular, name.as_bytes(), bytes.len() as u64);
            archive.append(&header, *bytes).unwrap();
        }
    }
    archive
}

fn put(folder: &Path, archive: tar::Builder<Vec<u8>>) -> PathBuf {
    let path = folder.join("changed");
    let bytes = zstd::encode_all(&*archive.into_inner().unwrap(), 1).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The pack again with other members.
fn changed(folder: &Path, members: &[(String, Vec<u8>)]) -> PathBuf {
    let borrowed: Vec<(&str, &[u8])> =
        members.iter().map(|(name, bytes)| (name.as_str(), &**bytes)).collect();
    put(folder, build(&borrowed))
}

#[test]
fn a_pack_comes_apart_as_it_was_and_is_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = pack(folder.path(), Some(&key("one")));
    let bytes = std::fs::read(&file).unwrap();
    let mut shuffled = members();
    shuffled.reverse();
    let mut out = std::fs::File::create(&file).unwrap();
    write(&mut out, &file, about(), shuffled, Some(&key("one"))).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    let (unpacked, files) = open(&file).unwrap();
    assert_eq!(unpacked.problems, []);
    assert_eq!(unpacked.signature, Signature::By(key("one").public()));
    assert_eq!(unpacked.manifest.about, about());
    assert_eq!(files.len(), 4, "the link is listed and not made");
    assert_eq!(files["study.toml"], b"[study]\n");
    let link = unpacked.manifest.member("artifacts/link").unwrap();
    assert_eq!(link.link.as_deref(), Some("../../etc/passwd"));
    // As any other tool sees it.
    let names: Vec<String> = raw(&file).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names[..3], ["manifest.json", "manifest.sig", "manifest.pub"]);
    assert!(names[3..].is_sorted());
}

#[test]
fn a_flipped_bit_of_any_member_is_seen_and_the_member_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let file = pack(folder.path(), None);
    let whole = raw(&file);
    for place in 1..whole.len() {
        let mut members = whole.clone();
        let Some(byte) = members[place].1.first_mut() else { continue };
        *byte ^= 1;
        let (unpacked, files) = open(&changed(folder.path(), &members)).unwrap();
        assert_eq!(unpacked.problems.len(), 1);
        assert_eq!(unpacked.problems[0].member, whole[place].0);
        assert!(unpacked.problems[0].what.contains("SHA-256"), "{:?}", unpacked.problems);
        assert!(!files.contains_key(&whole[place].0));
    }
    // Shorter, gone, and one more.
    let mut members = whole.clone();
    members[2].1.clear();
    let shorter = members[2].0.clone();
    let gone = members.pop().unwrap().0;
    members.push(("more".into(), b"x".to_vec()));
    let (unpacked, _) = open(&changed(folder.path(), &members)).unwrap();
    let names: Vec<&str> = unpacked.problems.iter().map(|p| p.member.as_str()).collect();
    assert_eq!(names.len(), if shorter == "empty" { 2 } else { 3 }, "{names:?}");
    assert!(names.contains(&"more") && names.contains(&gone.as_str()), "{names:?}");
}

#[test]
fn a_signature_holds_for_one_manifest_and_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let signed = raw(&pack(folder.path(), Some(&key("one"))));
    let other = raw(&pack(folder.path(), Some(&key("other"))));
    let seen = |change: &dyn Fn(&mut Members)| {
        let mut members = signed.clone();
        change(&mut members);
        open(&changed(folder.path(), &members)).unwrap().0.signature
    };
    assert_eq!(seen(&|_| ()), Signature::By(key("one").public()));
    assert_eq!(seen(&|m| m[0].1.push(b' ')), Signature::Wrong);
    assert_eq!(seen(&|m| m[1].1[5] ^= 1), Signature::Wrong);
    assert_eq!(seen(&|m| m[1].1 = other[1].1.clone()), Signature::Wrong);
    assert_eq!(seen(&|m| m[2].1 = other[2].1.clone()), Signature::Wrong);
    assert_eq!(seen(&|m| m[2].1 = b"no key".to_vec()), Signature::Wrong);
    assert_eq!(seen(&|m| drop(m.remove(1))), Signature::Wrong);
    assert_eq!(seen(&|m| drop(m.remove(2))), Signature::Wrong);
    assert_eq!(seen(&|m| drop(m.drain(1..3))), Signature::None);
    let ours = seen(&|m| m[1..3].clone_from_slice(&other[1..3]));
    assert_eq!(ours, Signature::By(key("other").public()), "whose it is, is for others to judge");
}

#[test]
fn openssl_makes_the_same_of_a_signature() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in raw(&pack(folder.path(), Some(&key("one")))).iter().take(3) {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let verify = std::process::Command::new("openssl")
        .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "manifest.pub"])
        .args(["-sigfile", "manifest.sig", "-in", "manifest.json"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(verify.status.success(), "{verify:?}");
    let public = PublicKey::read(&folder.path().join("manifest.pub")).unwrap();
    assert_eq!(public, key("one").public());
}

#[test]
fn a_hostile_archive_writes_nothing_outside() {
    let folder = tempfile::tempdir().unwrap();
    let whole = raw(&pack(folder.path(), None));
    let manifest = whole[0].1.clone();
    let text = String::from_utf8(manifest.clone()).unwrap();
    let outside = folder.path().join("outside");
    let absolute = outside.display().to_string();
    let refused = |archive: tar::Builder<Vec<u8>>, expected: &str| {
        let file = put(folder.path(), archive);
        let into = tempfile::tempdir_in(folder.path()).unwrap();
        let inner = into.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let error = unpack(&file, &inner, Limits { bytes: 1 << 20 }, |_| true).unwrap_err();
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        let around: Vec<_> = std::fs::read_dir(into.path()).unwrap().collect();
        assert_eq!(around.len(), 1, "{around:?}");
        assert!(!outside.exists());
    };
    for name in [absolute.as_str(), "../outside", "a/../../outside", "a\\b", "a//b", "./study.toml"]
    {
        refused(build(&[("manifest.json", &manifest), (name, b"x")]), "no sound path");
        // Even where the manifest lists it.
        let listing = text.replace("\"study.toml\"", &serde_json::to_string(name).unwrap());
        assert_ne!(listing, text);
        refused(build(&[("manifest.json", listing.as_bytes()), (name, b"x")]), "no sound path");
    }
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Directory,
        tar::EntryType::Char,
        tar::EntryType::Fifo,
        tar::EntryType::XHeader,
        tar::EntryType::GNULongLink,
        tar::EntryType::GNUSparse,
    ] {
        let mut archive = build(&[("manifest.json", &manifest)]);
        let mut odd = header(kind, b"study.toml", 0);
        if kind != tar::EntryType::GNUSparse {
            odd.set_link_name("/etc/passwd").unwrap();
        }
        odd.set_cksum();
        archive.append(&odd, &b""[..]).unwrap();
        refused(archive, "no file");
    }
    let twice = [("manifest.json", &*manifest), ("study.toml", b"[study]\n"), ("study.toml", b"x")];
    refused(build(&twice), "twice");
    refused(build(&[("manifest.json", &manifest), ("manifest.json", &manifest)]), "twice");
    let larger = [("manifest.json", &*manifest), ("study.toml", &[b'x'; 4096])];
    refused(build(&larger), "where 8 are listed");
    let listing = text.replace("\"bytes\": 8", "\"bytes\": 1099511627776");
    refused(build(&[("manifest.json", listing.as_bytes())]), "more than the");
    let unlisted = vec![0; 2 << 20];
    refused(build(&[("manifest.json", &manifest), ("more", &unlisted)]), "more has 2097152 bytes");
    let listing = text.replace("\"empty\"", "\"rows\"");
    refused(build(&[("manifest.json", listing.as_bytes())]), "a file and a folder");
    let listing = text.replace("\"study.toml\"", "\"empty\"");
    refused(build(&[("manifest.json", listing.as_bytes())]), "listed twice");
    let mut archive = build(&[("manifest.json", &manifest)]);
    let name = vec![b'a'; 100_000];
    archive.append(&header(tar::EntryType::GNULongName, b"n", 100_000), &*name).unwrap();
    refused(archive, "too long");
    refused(build(&[("study.toml", b"[study]\n")]), "begins with study.toml");
    refused(build(&[]), "nothing in it");
    for (from, to, expected) in [
        ("reproduceml-pack", "other", "not that of a pack"),
        ("\"version\": 1", "\"version\": 2", "version 2"),
        ("\"files\"", "\"folders\"", "missing field"),
        ("{", "[", "none of a pack"),
    ] {
        refused(build(&[("manifest.json", text.replacen(from, to, 1).as_bytes())]), expected);
    }
}

#[test]
fn members_that_cannot_be_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pack");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s").unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    let attempt = |members: Vec<(&str, Source)>| {
        let members = members.into_iter().map(|(name, source)| (name.to_owned(), source)).collect();
        let mut out = std::fs::File::create(&path).unwrap();
        write(&mut out, &path, about(), members, None).unwrap_err().to_string()
    };
    let bytes = || Source::Bytes(Vec::new());
    assert!(attempt(vec![("../a", bytes())]).contains("`..`"));
    assert!(attempt(vec![("a", bytes()), ("a", bytes())]).contains("two members"));
    assert!(attempt(vec![("manifest.sig", bytes())]).contains("two members"));
    assert!(attempt(vec![("a", Source::File(link))]).contains("no link"));
    assert!(attempt(vec![("a", Source::File(folder.path().into()))]).contains("expected a file"));
    assert!(attempt(vec![("a", Source::File(folder.path().join("none")))]).contains("none"));
}

#[test]
fn cut_off_anywhere_it_is_no_whole_pack() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(pack(folder.path(), Some(&key("one")))).unwrap();
    let file = folder.path().join("cut");
    for length in (0..whole.len()).filter(|n| n % 5 == 0 || n + 20 > whole.len()) {
        std::fs::write(&file, &whole[..length]).unwrap();
        let error = open(&file).unwrap_err();
        assert!(matches!(error, ReadError::NoPack { .. }), "{length}: {error}");
    }
    std::fs::write(&file, [&whole[..], b"more"].concat()).unwrap();
    assert!(open(&file).is_err(), "nothing may follow");
    assert!(matches!(open(folder.path()).unwrap_err(), ReadError::NoPack { .. }));
    assert!(matches!(open(&folder.path().join("none")).unwrap_err(), ReadError::Io { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// One changed byte: refused, told, or of no consequence.
    #[test]
    fn a_garbled_file_never_passes_for_another(place in any::<prop::sample::Index>(), bit in 0..8) {
        let folder = tempfile::tempdir().unwrap();
        let file = pack(folder.path(), None);
        let (sound, content) = open(&file).unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= 1_u8 << bit;
        std::fs::write(&file, &bytes).unwrap();
        if let Ok((unpacked, files)) = open(&file) && unpacked.problems.is_empty() {
            prop_assert_eq!(unpacked.manifest, sound.manifest);
            prop_assert_eq!(files, content);
        }
    }

    /// Whatever an archive is made of, nothing appears beside the folder.
    #[test]
    fn any_archive_stays_in_its_folder(names in prop::collection::vec("[a./\\\\]{1,8}", 1..6)) {
        let folder = tempfile::tempdir().unwrap();
        let listed: Vec<_> = {
            let mut names = names.clone();
            names.sort();
            names.dedup();
            names
        };
        let manifest = Manifest {
            format: "reproduceml-pack".into(),
            version: 1,
            about: about(),
            files: listed.iter().map(|name| reproduceml_packing::Member {
                path: name.clone(),
                bytes: 1,
                sha256: String::new(),
                executable: false,
                link: None,
            }).collect(),
        };
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let mut members: Vec<(&str, &[u8])> = vec![("manifest.json", &manifest)];
        members.extend(names.iter().map(|name| (name.as_str(), &b"x"[..])));
        let file = put(folder.path(), build(&members));
        let inner = folder.path().join("deep/inner");
        std::fs::create_dir_all(&inner).unwrap();
        let _ = unpack(&file, &inner, Limits::default(), |_| true);
        prop_assert_eq!(std::fs::read_dir(folder.path().join("deep")).unwrap().count(), 1);
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
