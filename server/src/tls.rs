//! TLS on the TCP addresses: the server's certificate, and the handshake.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use protocol::{Digest, ErrorCode};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::connection::Stream;
use crate::error::ServerError;
use crate::refusal::Refusal;

/// The first byte of every connection that speaks TLS: a record of the handshake.
const HANDSHAKE: u8 = 22;

/// A certificate with its key, and what clients know it by.
#[derive(Clone)]
pub struct Tls {
    config: Arc<rustls::ServerConfig>,
    fingerprint: Digest,
}

impl Tls {
    /// Reads a chain of certificates, the server's own first, and its key, both in PEM.
    ///
    /// # Errors
    /// [`ServerError::Tls`] with the file and what is wrong with it.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, ServerError> {
        let wrong = |path: &Path, problem: String| ServerError::Tls { path: path.into(), problem };
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect)
            .map_err(|error| wrong(chain, error.to_string()))?;
        let Some(own) = certificates.first() else {
            return Err(wrong(chain, "it holds no certificate in PEM".to_owned()));
        };
        let fingerprint = Digest::of(own);
        let secret = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| wrong(key, format!("no private key in PEM: {error}")))?;
        let config = rustls::ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(certificates, secret)
            })
            .map_err(|error| wrong(key, format!("it does not fit {}: {error}", chain.display())))?;
        Ok(Self { config: Arc::new(config), fingerprint })
    }

    /// Makes a certificate of its own, signed by nobody, for clients that are told its fingerprint.
    /// Its key is never written down.
    ///
    /// # Errors
    /// [`ServerError::Random`] if the system gives no random bytes.
    pub fn own() -> Result<Self, ServerError> {
        let failed = |error: String| ServerError::Random(error);
        let made = rcgen::generate_simple_self_signed([String::from("reproduceml")])
            .map_err(|error| failed(error.to_string()))?;
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
            .map_err(|error| failed(error.to_owned()))?;
        let fingerprint = Digest::of(&certificate);
        let config = rustls::ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(vec![certificate], key)
            })
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { config: Arc::new(config), fingerprint })
    }

    /// SHA-256 of the server's own certificate in DER, by which clients may know it.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// The certificate and key as rustls takes them, for another listener of the same program.
    pub fn config(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.config)
    }

    /// The handshake, within `limit`.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        limit: Duration,
    ) -> Result<Box<dyn Stream>, Unopened> {
        let failed = |error: String| Unopened::Failed(Refusal::never(ErrorCode::Tls, error));
        let shake = async {
            let mut first = [0];
            match stream.peek(&mut first).await {
                Ok(0) => return Err(Unopened::Gone),
                Ok(_) if first != [HANDSHAKE] => return Err(Unopened::Plain(stream)),
                Ok(_) => {}
                Err(error) => return Err(failed(error.to_string())),
            }
            let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
            acceptor.accept(stream).await.map_err(|error| failed(error.to_string()))
        };
        let opened = timeout(limit, shake).await.unwrap_or_else(|_| {
            Err(failed(format!("the handshake took longer than {} s", limit.as_secs_f64())))
        });
        Ok(Box::new(opened?))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({})", self.fingerprint)
    }
}

/// Why a connection does not speak TLS.
pub(crate) enum Unopened {
    /// It ended before it began.
    Gone,
    /// The client speaks in the clear, and can be told so.
    Plain(TcpStream),
    /// The handshake failed; TLS itself told the client.
    Failed(Refusal),
}

/// What a client hears that speaks in the clear.
pub(crate) fn expected() -> Refusal {
    let what = "this address speaks TLS: dial tls:HOST:PORT. What was said on this connection was \
                not encrypted; if a token was among it, change the token";
    Refusal::never(ErrorCode::Tls, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_certificate_of_its_own_is_another() {
        assert_ne!(Tls::own().unwrap().fingerprint(), Tls::own().unwrap().fingerprint());
    }
}
