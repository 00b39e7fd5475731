//! Challenges from their published files: CIFAR-10's binary version, and MNIST's IDX.
//!
//! Every file is held against its published SHA-256 before a byte of it is used.

use std::io::Read;
use std::path::Path;

use protocol::Digest;

use super::fetch::Fetch;
use super::pool::Pool;
use super::{ChallengeError, Known};

/// A published file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published<'a> {
    /// Its name, without `.gz`.
    pub name: &'a str,
    /// SHA-256 of the file as it is published, compressed.
    pub packed: &'a str,
    /// SHA-256 of its uncompressed content, where that is known.
    pub plain: Option<&'a str>,
}

/// The four IDX files of a challenge: images and labels to train on, images and labels to test on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idx<'a> {
    /// The address of the folder in which the files are published.
    pub source: &'a str,
    /// Number of classes.
    pub classes: u8,
    /// The files, in the order above.
    pub files: [Published<'a>; 4],
}

const MNIST: Idx<'_> = Idx {
    source: "https://ossci-datasets.s3.amazonaws.com/mnist/",
    classes: 10,
    files: [
        Published {
            name: "train-images-idx3-ubyte",
            packed: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            plain: Some("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        },
        Published {
            name: "train-labels-idx1-ubyte",
            packed: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            plain: Some("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        },
        Published {
            name: "t10k-images-idx3-ubyte",
            packed: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            plain: Some("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        },
        Published {
            name: "t10k-labels-idx1-ubyte",
            packed: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            plain: Some("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        },
    ],
};

const FASHION_MNIST: Idx<'_> = Idx {
    source: "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    classes: 10,
    files: [
        Published {
            name: "train-images-idx3-ubyte",
            packed: "08dc20ab1689590a0bcd66e874647b6ee8464e2d501b5a3f1f78831db19a3fdc",
            plain: Some("c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        },
        Published {
            name: "train-labels-idx1-ubyte",
            packed: "b0197879cbda89f3dc7b894f9fd52b858e68ea4182b6947c9d8c2b67e5f18dcc",
            plain: Some("bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        },
        Published {
            name: "t10k-images-idx3-ubyte",
            packed: "78dcbbfb5a27efaf1b6c1d616caca68560be8766c5bffcb2791df9273a534229",
            plain: Some("5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        },
        Published {
            name: "t10k-labels-idx1-ubyte",
            packed: "42bd18137a62d5998cdeae52bf3a0676ac6b706f5cf8439b47bb5b151ae3dccf",
            plain: Some("0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        },
    ],
};

/// CIFAR-10's archive of its binary version.
const CIFAR10: Published<'_> = Published {
    name: "cifar-10-binary.tar",
    packed: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    plain: None,
};
const CIFAR10_SOURCE: &str = "https://www.cs.toronto.edu/~kriz/";
/// The archive's training files in their order, then the test file.
const CIFAR10_MEMBERS: [&str; 6] = [
    "cifar-10-batches-bin/data_batch_1.bin",
    "cifar-10-batches-bin/data_batch_2.bin",
    "cifar-10-batches-bin/data_batch_3.bin",
    "cifar-10-batches-bin/data_batch_4.bin",
    "cifar-10-batches-bin/data_batch_5.bin",
    "cifar-10-batches-bin/test_batch.bin",
];
/// Bytes of one of its records: a label, then three planes of 32 × 32.
const CIFAR10_RECORD: usize = 1 + 3 * 32 * 32;

/// The most bytes that a file may have when unpacked: CIFAR-10's archive has 184 MB.
pub(super) const LONGEST: u64 = 256 << 20;

/// Reads the training and test pools of a challenge from its folder in `data_dir`, fetching the
/// files that are missing.
///
/// # Errors
/// [`ChallengeError`] when a file is missing, is not the published one, or cannot be read.
pub fn read(data_dir: &Path, known: Known, fetch: &Fetch) -> Result<(Pool, Pool), ChallengeError> {
    match known {
        Known::Cifar10 => cifar10(&data_dir.join("cifar10"), &CIFAR10, fetch),
        Known::Mnist => idx(&data_dir.join("mnist"), &MNIST, fetch),
        Known::FashionMnist => idx(&data_dir.join("fashion-mnist"), &FASHION_MNIST, fetch),
        Known::Synthetic | Known::SyntheticCifar10 => Err(ChallengeError::Unknown {
            name: "synthetic".to_owned(),
            expected: "a challenge that lies in files".to_owned(),
        }),
    }
}

/// Reads a file, compressed (`<name>.gz`) or not, checks its digest and unpacks it.
fn load(
    folder: &Path,
    file: &Published<'_>,
    source: &str,
    fetch: &Fetch,
) -> Result<Vec<u8>, ChallengeError> {
    let packed = folder.join(format!("{}.gz", file.name));
    let plain = folder.join(file.name);
    let (path, expected) = match file.plain {
        Some(digest) if plain.exists() && !packed.exists() => (plain, digest),
        _ => (packed, file.packed),
    };
    let io = |source| ChallengeError::Io { path: path.clone(), source };
    if !path.exists()
        && let Err(reason) = fetch.get(folder, file, source)
    {
        let advice = format!(
            "get {}.gz (SHA-256 {}) from {source} and put it into {}. It could not be fetched: \
             {reason}",
            file.name,
            file.packed,
            folder.display()
        );
        return Err(ChallengeError::Missing { path, advice });
    }
    let bytes = std::fs::read(&path).map_err(io)?;
    let found = Digest::of(&bytes).to_string();
    if found != expected {
        return Err(ChallengeError::Digest { path, found, expected: expected.to_owned() });
    }
    if path.extension().is_none_or(|extension| extension != "gz") {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    let limited = flate2::read::MultiGzDecoder::new(&bytes[..]).take(LONGEST + 1);
    std::io::copy(&mut { limited }, &mut unpacked).map_err(io)?;
    if unpacked.len() as u64 > LONGEST {
        let problem = format!("it unpacks to more than {LONGEST} bytes");
        return Err(ChallengeError::Format { path, problem });
    }
    Ok(unpacked)
}

/// Reads the training and test pools of IDX files.
///
/// # Errors
/// [`ChallengeError`] when a file is missing, is not the published one, or cannot be read.
pub fn idx(folder: &Path, set: &Idx<'_>, fetch: &Fetch) -> Result<(Pool, Pool), ChallengeError> {
    let [train_images, train_labels, test_images, test_labels] = &set.files;
    let pool = |images: &Published<'_>, labels: &Published<'_>| {
        let wrong = |file: &Published<'_>, problem: String| ChallengeError::Format {
            path: folder.join(file.name),
            problem,
        };
        let bytes = load(folder, images, set.source, fetch)?;
        let (dimensions, pixels) = idx_content(&bytes).map_err(|what| wrong(images, what))?;
        let [count, height, width] = dimensions[..] else {
            let problem = format!("it has {} dimensions, expected 3", dimensions.len());
            return Err(wrong(images, problem));
        };
        let bytes = load(folder, labels, set.source, fetch)?;
        let (dimensions, classes) = idx_content(&bytes).map_err(|what| wrong(labels, what))?;
        if dimensions != [count] {
            let problem = format!("it has shape {dimensions:?}, expected [{count}]");
            return Err(wrong(labels, problem));
        }
        if let Some(class) = classes.iter().find(|class| **class >= set.classes) {
            let problem = format!("it has a class {class}, expected 0 to {}", set.classes - 1);
            return Err(wrong(labels, problem));
        }
        Ok(Pool {
            shape: [1, height, width],
            classes: set.classes,
            pixels: pixels.to_vec(),
            labels: classes.to_vec(),
        })
    };
    Ok((pool(train_images, train_labels)?, pool(test_images, test_labels)?))
}

/// Dimensions and content of an IDX file of bytes: two zeros, the type 8, the number of
/// dimensions, each dimension as 4 bytes with the most significant first, then the elements.
fn idx_content(bytes: &[u8]) -> Result<(Vec<u32>, &[u8]), String> {
    let Some(([0, 0, 8, dimensions], mut rest)) = bytes.split_first_chunk::<4>() else {
        return Err("it does not begin as an IDX file of bytes (00 00 08)".to_owned());
    };
    let mut shape = Vec::new();
    for _ in 0..*dimensions {
        let (dimension, after) =
            rest.split_first_chunk::<4>().ok_or("it ends within its dimensions")?;
        shape.push(u32::from_be_bytes(*dimension));
        rest = after;
    }
    let length = shape.iter().try_fold(1_u64, |n, d| n.checked_mul(u64::from(*d)));
    if length != Some(rest.len() as u64) {
        return Err(format!("its shape is {shape:?}, but {} bytes follow", rest.len()));
    }
    Ok((shape, rest))
}

/// Reads the training and test pools of CIFAR-10 from its archive.
///
/// # Errors
/// [`ChallengeError`] when the archive is missing, is not the published one, or cannot be read.
pub fn cifar10(
    folder: &Path,
    archive: &Published<'_>,
    fetch: &Fetch,
) -> Result<(Pool, Pool), ChallengeError> {
    let bytes = load(folder, archive, CIFAR10_SOURCE, fetch)?;
    let path = folder.join(archive.name);
    let wrong = |problem: String| ChallengeError::Format { path: path.clone(), problem };
    let mut members: [Option<Vec<u8>>; 6] = Default::default();
    let mut reader = tar::Archive::new(&bytes[..]);
    let unreadable = |error: std::io::Error| wrong(format!("it is no archive: {error}"));
    for entry in reader.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let name = entry.path().map_err(unreadable)?.into_owned();
        let place = CIFAR10_MEMBERS.iter().position(|member| Path::new(member) == name);
        if let Some(slot) = place.and_then(|place| members.get_mut(place)) {
            // The archive is in memory, so no member is longer than it.
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(unreadable)?;
            *slot = Some(content);
        }
    }
    let empty = || Pool { shape: [3, 32, 32], classes: 10, pixels: vec![], labels: vec![] };
    let (mut train, mut test) = (empty(), empty());
    for (member, content) in CIFAR10_MEMBERS.into_iter().zip(members) {
        let content = content.ok_or_else(|| wrong(format!("{member} is missing in it")))?;
        if content.len() % CIFAR10_RECORD != 0 {
            let problem = format!(
                "{member} has {} bytes, expected a multiple of {CIFAR10_RECORD}",
                content.len()
            );
            return Err(wrong(problem));
        }
        let pool = if member.ends_with("test_batch.bin") { &mut test } else { &mut train };
        for record in content.chunks_exact(CIFAR10_RECORD) {
            let Some((label @ 0..10, pixels)) = record.split_first() else {
                return Err(wrong(format!("{member} has a class that is not 0 to 9")));
            };
            pool.labels.push(*label);
            pool.pixels.extend_from_slice(pixels);
        }
    }
    Ok((train, test))
}
