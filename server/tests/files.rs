//! Challenges from files: small ones in the published formats.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::Digest;
use reproduceml_server::challenge::files::{Idx, Published, cifar10, idx, read};
use reproduceml_server::challenge::{ChallengeError, Fetch, Known};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx_file(shape: &[u32], content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, u8::try_from(shape.len()).unwrap()];
    bytes.extend(shape.iter().flat_map(|d| d.to_be_bytes()));
    bytes.extend(content);
    bytes
}

/// Writes four IDX files and reads them; `packed` says whether they lie compressed.
fn through_idx(contents: [Vec<u8>; 4], packed: bool) -> Result<[usize; 2], ChallengeError> {
    let folder = tempfile::tempdir().unwrap();
    let names = ["a", "b", "c", "d"];
    let digests: Vec<[String; 2]> = names
        .iter()
        .zip(&contents)
        .map(|(name, content)| {
            let gz = gzip(content);
            let (file, bytes) =
                if packed { (format!("{name}.gz"), &gz) } else { ((*name).to_owned(), content) };
            std::fs::write(folder.path().join(file), bytes).unwrap();
            [Digest::of(&gz).to_string(), Digest::of(content).to_string()]
        })
        .collect();
    let files = std::array::from_fn(|i| Published {
        name: names[i],
        packed: &digests[i][0],
        plain: Some(&digests[i][1]),
    });
    let (train, test) =
        idx(folder.path(), &Idx { source: "somewhere", classes: 10, files }, &Fetch::Never)?;
    assert_eq!(train.shape, [1, 2, 3]);
    assert_eq!(train.pixels, (0..18).collect::<Vec<u8>>());
    assert_eq!(train.labels, [7, 8, 9]);
    Ok([train.labels.len(), test.labels.len()])
}

fn good() -> [Vec<u8>; 4] {
    [
        idx_file(&[3, 2, 3], &(0..18).collect::<Vec<u8>>()),
        idx_file(&[3], &[7, 8, 9]),
        idx_file(&[1, 2, 3], &[5; 6]),
        idx_file(&[1], &[0]),
    ]
}

#[test]
fn idx_files_are_read_compressed_or_not() {
    assert_eq!(through_idx(good(), true).unwrap(), [3, 1]);
    assert_eq!(through_idx(good(), false).unwrap(), [3, 1]);
}

#[test]
fn idx_files_that_are_wrong_are_explained() {
    for (at, content, words) in [
        (0, b"\x89PNG".to_vec(), "does not begin"),
        (0, vec![], "does not begin"),
        (0, idx_file(&[3, 2, 3], &[0; 17]), "17 bytes follow"),
        (0, idx_file(&[u32::MAX, u32::MAX, u32::MAX], &[]), "0 bytes follow"),
        (0, vec![0, 0, 8, 3, 0, 0], "ends within"),
        (0, idx_file(&[3, 6], &[0; 18]), "expected 3"),
        (1, idx_file(&[2], &[0, 1]), "expected [3]"),
        (1, idx_file(&[3], &[0, 1, 10]), "class 10"),
    ] {
        let mut contents = good();
        contents[at] = content;
        let error = through_idx(contents, true).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_missing_or_changed_file_says_where_the_right_one_is() {
    let folder = tempfile::tempdir().unwrap();
    for (known, place) in [
        (Known::Mnist, "mnist"),
        (Known::FashionMnist, "fashion-mnist"),
        (Known::Cifar10, "cifar10"),
    ] {
        let error = read(folder.path(), known, &Fetch::Never).unwrap_err();
        assert!(matches!(error, ChallengeError::Missing { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("https://") && text.contains("SHA-256"), "{text}");
        assert!(text.contains(&folder.path().join(place).display().to_string()), "{text}");
    }
    // Compressed or not, a file that is there is held against its own published digest.
    for (known, place) in [(Known::Mnist, "mnist"), (Known::FashionMnist, "fashion-mnist")] {
        let path = folder.path().join(place);
        std::fs::create_dir(&path).unwrap();
        let mut digests = Vec::new();
        for (file, content) in [("", b"other".to_vec()), (".gz", gzip(b"other"))] {
            let file = path.join(format!("train-images-idx3-ubyte{file}"));
            std::fs::write(&file, content).unwrap();
            match read(folder.path(), known, &Fetch::Never).unwrap_err() {
                ChallengeError::Digest { path, expected, .. } if path == file => {
                    digests.push(expected);
                }
                error => panic!("{error}"),
            }
        }
        assert_ne!(digests[0], digests[1]);
    }
}

fn archive(folder: &Path, members: &[(&str, Vec<u8>)]) -> String {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        let path = format!("cifar-10-batches-bin/{name}");
        builder.append_data(&mut header, path, &content[..]).unwrap();
    }
    let bytes = gzip(&builder.into_inner().unwrap());
    std::fs::write(folder.join("c.tar.gz"), &bytes).unwrap();
    Digest::of(&bytes).to_string()
}

#[test]
fn cifar10_is_read_from_its_archive() {
    let folder = tempfile::tempdir().unwrap();
    let record = |label: u8| [vec![label], vec![label * 10; 3072]].concat();
    let names = [1, 2, 3, 4, 5].map(|n| format!("data_batch_{n}.bin"));
    // Members in any order; the files' own order counts.
    let mut members: Vec<(&str, Vec<u8>)> = vec![("readme.html", b"<html>".to_vec())];
    members.push(("test_batch.bin", [record(9), record(8)].concat()));
    for (n, name) in (0..5_u8).zip(&names).rev() {
        members.push((name, record(n)));
    }
    let load = |members: &[(&str, Vec<u8>)]| {
        let digest = archive(folder.path(), members);
        let archive = Published { name: "c.tar", packed: &digest, plain: None };
        cifar10(folder.path(), &archive, &Fetch::Never)
    };
    let (train, test) = load(&members).unwrap();
    assert_eq!(train.labels, [0, 1, 2, 3, 4]);
    assert_eq!(train.pixels[3 * 3072], 30);
    assert_eq!((test.labels, test.shape), (vec![9, 8], [3, 32, 32]));
    members[1].1.pop();
    assert!(load(&members).unwrap_err().to_string().contains("multiple of 3073"));
    members[1].1 = record(10);
    assert!(load(&members).unwrap_err().to_string().contains("not 0 to 9"));
    members.remove(1);
    assert!(load(&members).unwrap_err().to_string().contains("test_batch.bin is missing"));
}

/// A mirror on this machine that answers each path of `files` with its content, counting.
fn mirror(files: Vec<(String, Vec<u8>)>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = request.next().unwrap().unwrap();
            while request.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let path = first.split(' ').nth(1).unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            let (status, content) = match files.iter().find(|(name, _)| name == path) {
                Some((_, content)) => ("200 OK", &content[..]),
                None => ("404 Not Found", &b""[..]),
            };
            let length = content.len();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n").unwrap();
            stream.write_all(b"Connection: close\r\n\r\n").unwrap();
            stream.write_all(content).unwrap();
        }
    });
    (address, asked)
}

#[test]
fn missing_files_are_fetched_once_and_only_if_they_are_the_published_ones() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no curl");
        return;
    }
    let packed = good().map(|content| gzip(&content));
    let digests = packed.clone().map(|bytes| Digest::of(&bytes).to_string());
    let names = ["a", "b", "c", "d"];
    let files =
        std::array::from_fn(|i| Published { name: names[i], packed: &digests[i], plain: None });
    let set = Idx { source: "somewhere", classes: 10, files };
    let served = |packed: &[Vec<u8>]| {
        let paths = names.map(|name| format!("/small/{name}.gz"));
        mirror(paths.into_iter().zip(packed.to_vec()).collect())
    };
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("small");
    let left = || std::fs::read_dir(&place).map_or(0, Iterator::count);

    let gone = Fetch::Mirror("http://127.0.0.1:9".into());
    let error = idx(&place, &set, &gone).unwrap_err();
    assert!(matches!(error, ChallengeError::Missing { .. }), "{error}");
    let text = error.to_string();
    for words in ["a.gz", &digests[0], "somewhere", &place.display().to_string(), "127.0.0.1:9"] {
        assert!(text.contains(words), "no {words} in: {text}");
    }
    let mut changed = packed.clone();
    changed[2][10] ^= 1;
    let (address, _) = served(&changed);
    let error = idx(&place, &set, &Fetch::Mirror(address)).unwrap_err().to_string();
    assert!(error.contains("c.gz has SHA-256"), "{error}");
    assert_eq!(left(), 2, "the damaged one is not kept, nor a part of it");
    let (address, asked) = served(&packed);
    let fetch = Fetch::Mirror(address);
    let (train, test) = idx(&place, &set, &fetch).unwrap();
    assert_eq!((train.labels.len(), test.labels.len()), (3, 1));
    assert_eq!(asked.load(Ordering::SeqCst), 2, "two were there");
    idx(&place, &set, &fetch).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2, "nothing is fetched again");
    assert_eq!(left(), 4);
    let (address, _) = served(&[]);
    let empty = folder.path().join("other");
    let error = idx(&empty, &set, &Fetch::Mirror(address)).unwrap_err().to_string();
    assert!(error.contains("404"), "{error}");
}
