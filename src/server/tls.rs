//! TLS for those who come in: a certificate that can be swapped while connections live.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use crate::config::ListenTls;

/// The certificate that new connections are shown.
#[derive(Debug)]
pub(super) struct Certificate(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Certificate {
    pub(super) fn load(config: &ListenTls) -> Result<Arc<Self>> {
        Ok(Arc::new(Self(ArcSwap::from_pointee(read(config)?))))
    }

    /// What `replace` will show; reading comes first, so that a bad file changes nothing.
    pub(super) fn read(config: &ListenTls) -> Result<Arc<CertifiedKey>> {
        read(config).map(Arc::new)
    }

    pub(super) fn replace(&self, key: Arc<CertifiedKey>) {
        self.0.store(key);
    }
}

/// The acceptor's settings. With `client_ca_file` a client without a certificate of it is not let in.
pub(super) fn acceptor(config: &ListenTls, certificate: Arc<Certificate>) -> Result<ServerConfig> {
    let versions: &[_] = if config.only_tls13 {
        &[&rustls::version::TLS13]
    } else {
        rustls::ALL_VERSIONS
    };
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let builder = match &config.client_ca_file {
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).with_context(|| file.display().to_string())?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut settings = builder.with_cert_resolver(certificate);
    settings.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(settings)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read(config: &ListenTls) -> Result<CertifiedKey> {
    let chain = certificates(&config.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&config.key_file).with_context(|| config.key_file.display().to_string())?;
    CertifiedKey::from_der(chain, key, &provider())
        .with_context(|| format!("{} and {}", config.cert_file.display(), config.key_file.display()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| file.display().to_string())?;
    anyhow::ensure!(!found.is_empty(), "{} holds no certificate", file.display());
    Ok(found)
}
