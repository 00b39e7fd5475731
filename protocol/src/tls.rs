//! TLS below the frames, for clients written in Rust.
//!
//! A server's certificate is known by its fingerprint or by who signed it; there is no way to
//! take any certificate.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use thiserror::Error;

use crate::value::Digest;

/// A connection that is encrypted.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// How a client knows its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// By the SHA-256 of its certificate in DER. Names and dates in it do not count.
    Fingerprint(Digest),
    /// By a PEM file with the certificates that may have signed the server's. The server's name
    /// must be the one that is dialled.
    Authorities(PathBuf),
}

/// Why there is no encrypted connection.
#[derive(Debug, Error)]
pub enum TlsError {
    /// No `HOST:PORT`.
    #[error("{address:?} is no address, expected HOST:PORT")]
    Address {
        /// What was given.
        address: String,
    },
    /// The host is neither a name nor an address.
    #[error("{host:?} is neither a name nor an address: {source}")]
    Host {
        /// The host.
        host: String,
        /// What is wrong with it.
        source: InvalidDnsNameError,
    },
    /// The authorities cannot be used.
    #[error("{path} holds no certificates that can be used: {problem}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The connection failed, or the other side does not speak TLS.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The server is not the one that is trusted, or does not speak TLS as expected.
    #[error("the server is not trusted: {0}")]
    Tls(#[from] rustls::Error),
}

/// Dials `HOST:PORT` and returns when the server is known to be the right one. `timeout` is that
/// of the connection and, as long as nothing else is set, of each read and write.
///
/// # Errors
/// [`TlsError`], each of them before a byte of the protocol was sent.
pub fn connect(address: &str, trust: &Trust, timeout: Duration) -> Result<TlsStream, TlsError> {
    let wrong = || TlsError::Address { address: address.to_owned() };
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned())
        .map_err(|source| TlsError::Host { host: host.to_owned(), source })?;
    let config = Arc::new(config(trust)?);
    let place = (host, port).to_socket_addrs()?.next().ok_or_else(wrong)?;
    let mut stream = TcpStream::connect_timeout(&place, timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let mut connection = ClientConnection::new(config, name)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).map_err(cause)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// Takes an error of TLS out of the one of I/O that carries it.
fn cause(error: io::Error) -> TlsError {
    match error.downcast::<rustls::Error>() {
        Ok(error) => error.into(),
        Err(error) => error.into(),
    }
}

fn config(trust: &Trust) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::Fingerprint(fingerprint) => {
            let pinned = Pinned { fingerprint: *fingerprint, provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(pinned))
        }
        Trust::Authorities(path) => builder.with_root_certificates(authorities(path)?),
    };
    Ok(builder.with_no_client_auth())
}

fn authorities(path: &std::path::Path) -> Result<RootCertStore, TlsError> {
    let wrong = |problem: String| TlsError::Authorities { path: path.to_owned(), problem };
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))? {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        store.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    if store.is_empty() {
        return Err(wrong("it holds none in PEM".to_owned()));
    }
    Ok(store)
}

/// Accepts one certificate and no other.
#[derive(Debug)]
struct Pinned {
    fingerprint: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Digest::of(end_entity);
        if found == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            let expected = self.fingerprint;
            Err(rustls::Error::General(format!(
                "its certificate has the fingerprint {found}, expected {expected}"
            )))
        }
    }

    // That the server holds the certificate's key is proved by these two.

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
