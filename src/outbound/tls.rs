//! TLS towards MLflow and directories: which roots are believed and which certificate the gateway shows.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ConfigBuilder};
use tokio_rustls::TlsConnector;

use crate::config;

use super::trust::{certificates, roots, told};

/// The connector for an upstream; `None` for plain http. With `ca_file` the system's roots are not believed.
///
/// # Errors
/// When a file cannot be read or holds no certificate or key.
pub(super) fn client(config: &config::Upstream) -> Result<Option<TlsConnector>, String> {
    if config.url.scheme() != "https" {
        return Ok(None);
    }
    let builder = believing(config.ca_file.as_deref())?;
    let tls = match (&config.client_cert_file, &config.client_key_file) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| told(key, error))?;
            builder
                .with_client_auth_cert(certificates(cert)?, key)
                .map_err(|error| told(cert, error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Some(TlsConnector::from(Arc::new(tls))))
}

/// The connector for a server that asks for no certificate of ours. With `ca_file` the system's roots are not believed.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub fn trusting(ca_file: Option<&Path>) -> Result<TlsConnector, String> {
    let tls = believing(ca_file)?.with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(tls)))
}

fn believing(ca_file: Option<&Path>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(ca_file)?))
}
