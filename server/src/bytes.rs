//! Numbers as the little-endian bytes that travel.

/// The bytes of unsigned 32-bit integers.
pub fn u32_bytes(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The bytes of labels as signed 64-bit integers.
pub fn label_bytes(labels: &[u8]) -> Vec<u8> {
    labels.iter().flat_map(|v| i64::from(*v).to_le_bytes()).collect()
}

/// The binary32 numbers in `bytes`; a last incomplete one is left out.
pub fn f32_values(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}
