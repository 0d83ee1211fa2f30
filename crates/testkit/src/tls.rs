//! A listener that speaks TLS.

use crate::Certificate;
use axum::serve::Listener;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use std::{net::SocketAddr, sync::Arc};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Accepts connections of those who like its certificate, and whose it likes.
pub(crate) struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

// === impl TlsListener ===

impl TlsListener {
    /// With this certificate; who connects needs that one, if any.
    pub(crate) fn new(tcp: TcpListener, own: &Certificate, clients: Option<&Certificate>) -> Self {
        crate::crypto();
        let read = |certificate: &Certificate| CertificateDer::from_pem_file(certificate.path()).unwrap();
        let verifier = match clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(read(clients)).unwrap();
                WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap()
            }
        };
        let key = PrivateKeyDer::from_pem_file(own.key()).unwrap();
        let config = ServerConfig::builder().with_client_cert_verifier(verifier);
        let config = config.with_single_cert(vec![read(own)], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self { tcp, acceptor }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
