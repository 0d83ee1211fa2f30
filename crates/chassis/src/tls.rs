//! TLS for people without a proxy.

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use std::sync::Arc;
use tokio::sync::watch;

/// A certificate, its key and how to use them.
pub type Config = ServerConfig;

/// The certificate in use; another one holds for connections made after it came.
pub type Tls = watch::Receiver<Arc<Config>>;

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// It is not PEM, or holds something else.
    #[error("{0}: {1}")]
    Pem(&'static str, rustls::pki_types::pem::Error),
    /// They do not belong together, or are of a kind that is not understood.
    #[error("{0}")]
    Unusable(#[from] rustls::Error),
}

/// What a server needs, from a chain of certificates and a key in PEM (RFC 7468).
///
/// # Errors
/// When they cannot be read or do not fit each other.
pub fn server(certificates: &[u8], key: &[u8]) -> Result<Arc<Config>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Pem("certificate", error))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Pem("key", error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
