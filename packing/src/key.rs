//! Keys and signatures: Ed25519, in the forms that `openssl genpkey -algorithm ed25519` and
//! `openssl pkey -pubout` write.

use std::path::{Path, PathBuf};

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

/// Bytes before the 32 of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410, section 4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why a file gives no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// It holds no Ed25519 private key.
    #[error(
        "{path}: expected an Ed25519 private key in PEM (PKCS#8), as `openssl genpkey -algorithm ed25519` makes it"
    )]
    NotPrivate {
        /// The file.
        path: PathBuf,
    },
    /// It holds no Ed25519 public key.
    #[error(
        "{path}: expected an Ed25519 public key in PEM, as `openssl pkey -in KEY -pubout` makes it"
    )]
    NotPublic {
        /// The file.
        path: PathBuf,
    },
}

/// The key that signs.
pub struct SigningKey(Ed25519KeyPair);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey of {}", self.public().fingerprint())
    }
}

impl SigningKey {
    /// Reads a private key.
    ///
    /// # Errors
    /// If the file cannot be read or holds no such key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = read(path)?;
        let wrong = || KeyError::NotPrivate { path: path.to_owned() };
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| wrong())?;
        // OpenSSL writes the first version of PKCS#8, which has no public key to check against.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der())
            .map(Self)
            .map_err(|_| wrong())
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// The signature over `message`, 64 bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

/// The key that verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads a public key.
    ///
    /// # Errors
    /// If the file cannot be read or holds no such key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let text = read(path)?;
        Self::of_pem(&text).ok_or_else(|| KeyError::NotPublic { path: path.to_owned() })
    }

    /// The key in a PEM text, if it is one of Ed25519.
    pub(crate) fn of_pem(text: &[u8]) -> Option<Self> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text).ok()?;
        let key = der.strip_prefix(&SPKI[..])?;
        key.try_into().ok().map(Self)
    }

    /// The key as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        let der = [&SPKI[..], &self.0[..]].concat();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64(&der))
    }

    /// The key in hexadecimal, for people to compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(self.0)
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    std::fs::read(path).map_err(|source| KeyError::Io { path: path.to_owned(), source })
}

/// Base64 of the 44 bytes of a key: whole groups of three but for the last.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * place) & 63) as usize).copied();
            text.push(if place > group.len() { '=' } else { char::from(digit.unwrap_or(b'=')) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`; it signs nothing
    // but what these tests do.
    const PRIVATE: &str = include_str!("../tests/keys/one.pem");
    const PUBLIC: &str = include_str!("../tests/keys/one.pub.pem");

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn keys_of_openssl_are_read_and_written() {
        let key = SigningKey::read(file(PRIVATE).path()).unwrap();
        let public = PublicKey::read(file(PUBLIC).path()).unwrap();
        assert_eq!(key.public(), public);
        assert_eq!(public.pem(), PUBLIC, "the same text as openssl's");
        let signature = key.sign(b"message");
        assert!(public.verifies(b"message", &signature));
        assert!(!public.verifies(b"massage", &signature));
        assert!(!public.verifies(b"message", &signature[1..]));
        assert!(!format!("{key:?}").contains(&PRIVATE[30..60]));
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for text in ["", "nothing", PUBLIC, &PRIVATE[..60]] {
            let error = SigningKey::read(file(text).path()).unwrap_err().to_string();
            assert!(error.contains("openssl genpkey"), "{error}");
        }
        for text in ["", PRIVATE, &PUBLIC.replace("MCow", "MCox")] {
            let error = PublicKey::read(file(text).path()).unwrap_err().to_string();
            assert!(error.contains("-pubout"), "{error}");
        }
    }
}
