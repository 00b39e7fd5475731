//! The digest of a network's parameters, the same for every client.
//!
//! SHA-256 over all parameters, sorted by the bytes of their names; for each, with all integers
//! little-endian: length of the name (u32), name, length of the dtype (u32), dtype, number of
//! dimensions (u32), each dimension (u64), number of bytes (u64), elements in C order.

use protocol::Digest;
use sha2::{Digest as _, Sha256};

/// One parameter: name, dtype, shape, little-endian bytes.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name, as in PyTorch's `state_dict`.
    pub name: String,
    /// Its dtype, as in the protocol.
    pub dtype: &'static str,
    /// Its shape, outermost dimension first.
    pub shape: Vec<u64>,
    /// Its elements.
    pub bytes: Vec<u8>,
}

/// The digest of parameters in any order.
pub fn of_parameters(mut parameters: Vec<Parameter>) -> Digest {
    parameters.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
    let mut hasher = Sha256::new();
    for parameter in &parameters {
        for text in [parameter.name.as_str(), parameter.dtype] {
            hasher.update((text.len() as u32).to_le_bytes());
            hasher.update(text);
        }
        hasher.update((parameter.shape.len() as u32).to_le_bytes());
        for dimension in &parameter.shape {
            hasher.update(dimension.to_le_bytes());
        }
        hasher.update((parameter.bytes.len() as u64).to_le_bytes());
        hasher.update(&parameter.bytes);
    }
    Digest(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str, shape: &[u64], bytes: &[u8]) -> Parameter {
        Parameter { name: name.into(), dtype: "f4", shape: shape.into(), bytes: bytes.into() }
    }

    #[test]
    fn it_is_the_python_clients() {
        // The known answer of clients/python/tests/test_digest.py.
        let found = of_parameters(vec![parameter("b", &[2], &[0, 0, 128, 63, 0, 0, 0, 64])]);
        let expected = "7d790b7720be6477337b70862dc84c5e1055efc4a9d32ee9dd02e6d8400d9fad";
        assert_eq!(found.to_string(), expected);
    }

    #[test]
    fn order_does_not_matter_but_names_and_shapes_do() {
        let (a, b) = (parameter("a", &[1], b"1234"), parameter("b", &[], b"5678"));
        let both = of_parameters(vec![a.clone(), b.clone()]);
        assert_eq!(both, of_parameters(vec![b, a.clone()]));
        let alone = of_parameters(vec![a]);
        assert_ne!(alone, of_parameters(vec![parameter("a", &[1, 1], b"1234")]));
        assert_ne!(alone, of_parameters(vec![parameter("c", &[1], b"1234")]));
    }
}
