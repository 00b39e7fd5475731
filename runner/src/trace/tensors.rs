//! Tensors that a client wrote for a trace, and how far two of them are apart.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// One tensor of a moment, as the client's `index.jsonl` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Tensor {
    /// What it is in the step: `output`, `output gradient`, `parameter`, ….
    pub(super) stage: String,
    /// The module or the parameter; empty is the network as a whole.
    pub(super) name: String,
    /// Its element type, as the protocol names it.
    dtype: String,
    /// Its extents.
    shape: Vec<u64>,
    /// The file with its bytes.
    file: String,
}

/// Why a moment cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// A file of the trace cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The client wrote something else than a trace.
    #[error("{path}, line {line}: {problem}; the client and this program do not belong together")]
    Form {
        /// The file.
        path: std::path::PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

/// The tensors of the moment that a client wrote to `folder`, in the order of their computation;
/// `None` if it never came to that moment.
pub(super) fn read(folder: &Path) -> Result<Option<Vec<Tensor>>, TensorError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Line {
        Tensor(Tensor),
        End { end: bool },
    }
    let path = folder.join("index.jsonl");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(TensorError::Io { path, source }),
    };
    let mut tensors = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong =
            |problem: String| TensorError::Form { path: path.clone(), line: number + 1, problem };
        match serde_json::from_str(line).map_err(|error| wrong(error.to_string()))? {
            // The name is the client's, and becomes a path.
            Line::Tensor(tensor) if tensor.file.contains('/') => {
                return Err(wrong(format!("`{}` is no file's name", tensor.file)));
            }
            Line::Tensor(tensor) => tensors.push(tensor),
            Line::End { end } => return Ok(end.then_some(tensors)),
        }
    }
    Ok(None)
}

/// How far two tensors of the same moment are apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorDifference {
    /// What they are in the step: `input`, `output`, `loss`, `output gradient`,
    /// `parameter gradient` or `parameter`.
    pub stage: String,
    /// The module or the parameter; empty is the network as a whole.
    pub name: String,
    /// Elements each has, or `None` where dtype or shape differ and nothing else can be said.
    pub elements: Option<u64>,
    /// Elements whose bits differ.
    pub differing: u64,
    /// The largest absolute difference of two elements, in the tensor's own unit. Infinite where
    /// one is infinite and the other is not; elements that are not a number do not count.
    pub largest: Option<f64>,
    /// The largest number of representable values between two elements (units in the last place);
    /// `None` for integers. Elements that are not a number do not count.
    pub ulps: Option<u64>,
    /// Elements that are a number on one side alone.
    pub not_a_number: u64,
}

/// Compares two tensors; `None` if they are the same to the last bit.
pub(super) fn compare(
    left: (&Path, &Tensor),
    right: (&Path, &Tensor),
) -> Result<Option<TensorDifference>, TensorError> {
    let bytes = |(folder, tensor): (&Path, &Tensor)| {
        let path = folder.join(&tensor.file);
        std::fs::read(&path).map_err(|source| TensorError::Io { path, source })
    };
    let (a, b) = (bytes(left)?, bytes(right)?);
    let (left, right) = (left.1, right.1);
    let mut found = TensorDifference {
        stage: left.stage.clone(),
        name: left.name.clone(),
        elements: None,
        differing: 0,
        largest: None,
        ulps: None,
        not_a_number: 0,
    };
    if (&left.dtype, &left.shape, a.len()) != (&right.dtype, &right.shape, b.len()) {
        return Ok(Some(found));
    }
    if a == b {
        return Ok(None);
    }
    let kind = Kind::of(&left.dtype);
    let size = kind.size();
    found.elements = Some((a.len() / size) as u64);
    for (a, b) in a.chunks_exact(size).zip(b.chunks_exact(size)).filter(|(a, b)| a != b) {
        found.differing += 1;
        let (x, y) = (kind.value(a), kind.value(b));
        if x.is_nan() || y.is_nan() {
            found.not_a_number += u64::from(x.is_nan() != y.is_nan());
            continue;
        }
        // Equal infinities have equal bits, so this is no difference of infinities.
        found.largest = Some((x - y).abs().max(found.largest.unwrap_or(0.0)));
        if let Some(ulps) = kind.ulps(a, b) {
            found.ulps = Some(ulps.max(found.ulps.unwrap_or(0)));
        }
    }
    Ok(Some(found))
}

/// An element type, as far as a comparison needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// IEEE 754, of 2, 4 or 8 bytes.
    Float(usize),
    /// The upper half of a 4-byte float.
    Brain,
    /// Two's complement.
    Signed(usize),
    /// Unsigned, and whatever is not known: compared byte by byte.
    Unsigned(usize),
}

impl Kind {
    fn of(dtype: &str) -> Self {
        match dtype {
            "f2" => Self::Float(2),
            "f4" => Self::Float(4),
            "f8" => Self::Float(8),
            "bf2" => Self::Brain,
            "i1" => Self::Signed(1),
            "i2" => Self::Signed(2),
            "i4" => Self::Signed(4),
            "i8" => Self::Signed(8),
            "u4" => Self::Unsigned(4),
            _ => Self::Unsigned(1),
        }
    }

    fn size(self) -> usize {
        match self {
            Self::Float(size) | Self::Signed(size) | Self::Unsigned(size) => size,
            Self::Brain => 2,
        }
    }

    /// The element's bits; little-endian.
    fn bits(element: &[u8]) -> u64 {
        element.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
    }

    fn value(self, element: &[u8]) -> f64 {
        let bits = Self::bits(element);
        match self {
            Self::Float(8) => f64::from_bits(bits),
            Self::Float(2) => half(bits as u16),
            Self::Float(_) => f64::from(f32::from_bits(bits as u32)),
            Self::Brain => f64::from(f32::from_bits((bits as u32) << 16)),
            Self::Signed(size) => {
                let unused = 64 - 8 * size as u32;
                ((bits << unused).cast_signed() >> unused) as f64
            }
            Self::Unsigned(_) => bits as f64,
        }
    }

    /// How many representable values lie between two floats, from one to the other. Both zeros
    /// are one value.
    fn ulps(self, a: &[u8], b: &[u8]) -> Option<u64> {
        let width = match self {
            Self::Float(size) => 8 * size as u32,
            Self::Brain => 16,
            Self::Signed(_) | Self::Unsigned(_) => return None,
        };
        // Sign and magnitude to a number line: the bits of floats of one sign are in their order.
        let place = |element: &[u8]| {
            let bits = i128::from(Self::bits(element));
            let sign = 1_i128 << (width - 1);
            if bits & sign == 0 { bits } else { sign - bits }
        };
        Some(u64::try_from((place(a) - place(b)).abs()).unwrap_or(u64::MAX))
    }
}

/// The value of an IEEE 754 half-precision number.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    match exponent {
        0 => sign * fraction * 2_f64.powi(-24),
        0x1f if fraction == 0.0 => sign * f64::INFINITY,
        0x1f => f64::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(dtype: &str, file: &str) -> Tensor {
        let (stage, name) = ("output".to_owned(), "conv1".to_owned());
        Tensor { stage, name, dtype: dtype.into(), shape: vec![2], file: file.into() }
    }

    fn compared(dtype: &str, left: &[u8], right: &[u8]) -> Option<TensorDifference> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), left).unwrap();
        std::fs::write(folder.path().join("b"), right).unwrap();
        let (a, b) = (tensor(dtype, "a"), tensor(dtype, "b"));
        compare((folder.path(), &a), (folder.path(), &b)).unwrap()
    }

    fn floats(values: [f32; 2]) -> Vec<u8> {
        values.into_iter().flat_map(f32::to_le_bytes).collect()
    }

    #[test]
    fn distances_are_counted_in_values_and_in_units_in_the_last_place() {
        let next = f32::from_bits(1.0_f32.to_bits() + 1);
        assert_eq!(compared("f4", &floats([1.0, 2.0]), &floats([1.0, 2.0])), None);
        let one = compared("f4", &floats([1.0, 2.0]), &floats([next, 2.0])).unwrap();
        assert_eq!((one.differing, one.elements, one.ulps), (1, Some(2), Some(1)));
        assert_eq!(one.largest, Some(f64::from(f32::EPSILON)));
        // Across zero: one step to the smallest number on each side, none between the zeros.
        let tiny = f32::from_bits(1);
        let across = compared("f4", &floats([tiny, 0.0]), &floats([-tiny, -0.0])).unwrap();
        assert_eq!((across.ulps, across.differing), (Some(2), 2));
        let odd = [f32::NAN, f32::INFINITY];
        let odd = compared("f4", &floats(odd), &floats([0.0, 0.0])).unwrap();
        assert_eq!((odd.not_a_number, odd.largest), (1, Some(f64::INFINITY)));
    }

    #[test]
    fn every_type_has_its_values() {
        let value = |dtype: &str, bytes: &[u8]| Kind::of(dtype).value(bytes);
        assert_eq!(value("f8", &1.5_f64.to_le_bytes()), 1.5);
        assert_eq!(value("bf2", &[0xc0, 0x3f]), 1.5);
        assert_eq!(value("i4", &(-3_i32).to_le_bytes()), -3.0);
        assert_eq!(value("i8", &i64::MIN.to_le_bytes()), i64::MIN as f64);
        assert_eq!(value("u4", &u32::MAX.to_le_bytes()), f64::from(u32::MAX));
        // Half precision: 1, the smallest number, the largest, minus infinity.
        for (bits, wanted) in [
            (0x3c00, 1.0),
            (1, 5.960464477539063e-8),
            (0x7bff, 65504.0),
            (0xfc00, f64::NEG_INFINITY),
        ] {
            assert_eq!(half(bits), wanted, "{bits:#x}");
        }
        assert!(half(0x7e00).is_nan());
        let whole = compared("i4", &[1, 0, 0, 0, 5, 0, 0, 0], &[1, 0, 0, 0, 2, 0, 0, 0]).unwrap();
        assert_eq!((whole.largest, whole.ulps, whole.differing), (Some(3.0), None, 1));
    }

    #[test]
    fn other_shapes_are_a_difference_and_no_number() {
        let found = compared("f4", &floats([1.0, 2.0]), &[0; 4]).unwrap();
        assert_eq!((found.elements, found.largest), (None, None));
    }

    #[test]
    fn a_moment_is_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("index.jsonl");
        assert_eq!(read(folder.path()).unwrap(), None);
        let line = r#"{"stage": "loss", "name": "", "dtype": "f8", "shape": [], "file": "0.bin"}"#;
        std::fs::write(&index, format!("{line}\n")).unwrap();
        assert_eq!(read(folder.path()).unwrap(), None, "its end is missing");
        std::fs::write(&index, format!("{line}\n{{\"end\": true}}\n")).unwrap();
        assert_eq!(read(folder.path()).unwrap().unwrap().len(), 1);
        for bad in [line.replace("0.bin", "../x"), "nonsense".into()] {
            std::fs::write(&index, format!("{line}\n{bad}\n")).unwrap();
            let error = read(folder.path()).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{error}");
        }
    }
}
