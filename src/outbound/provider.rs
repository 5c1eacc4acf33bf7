//! The one HTTP client for identity providers: own roots, time limits, size limits, no redirects.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use rustls::ClientConfig;
use thiserror::Error;
use url::Url;

pub use super::trust::is_plain_loopback;
use super::trust::roots;

#[derive(Debug, Error)]
pub enum ProviderClientError {
    #[error("{0} is not https")]
    NotHttps(String),
    #[error("{0} answers with a redirect, which is not followed")]
    Redirect(String),
    #[error("{0} answers with more than {1} bytes")]
    TooLarge(String, usize),
    #[error("{0} did not answer in time")]
    Timeout(String),
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// Its own fault, whatever its body says.
    #[error("{0} fails with {1}")]
    Failing(String, u16),
}

/// What one request may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub connect: Duration,
    /// From the first byte sent to the last byte read.
    pub total: Duration,
    /// Of the answer's body, in bytes.
    pub size: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(10),
            size: 1 << 20,
        }
    }
}

#[derive(Debug)]
pub struct ProviderClient {
    client: reqwest::Client,
    plain_loopback: bool,
    bounds: Bounds,
}

impl ProviderClient {
    /// `ca_file` replaces the system's roots. `plain_loopback` lets plain http through, to this machine alone.
    ///
    /// # Errors
    /// When the roots cannot be read.
    pub fn new(ca_file: Option<&Path>, plain_loopback: bool, bounds: Bounds) -> Result<Self, String> {
        let client = unbounded(ca_file, bounds)?;
        Ok(Self {
            client,
            plain_loopback,
            bounds,
        })
    }

    /// # Errors
    /// When the address is not allowed, or no whole answer came within the bounds. A redirect is no answer.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ProviderClientError> {
        let request = reqwest::Request::try_from(request)
            .map_err(|error| ProviderClientError::Unreachable("the provider".to_owned(), reason(&error)))?;
        let place = place(request.url());
        if !self.allows(request.url()) {
            return Err(ProviderClientError::NotHttps(place));
        }
        let failed = |error: reqwest::Error| match error.is_timeout() {
            true => ProviderClientError::Timeout(place.clone()),
            false => ProviderClientError::Unreachable(place.clone(), reason(&error)),
        };
        let mut answer = self.client.execute(request).await.map_err(failed)?;
        if answer.status().is_redirection() {
            return Err(ProviderClientError::Redirect(place));
        }
        if answer.status().is_server_error() {
            return Err(ProviderClientError::Failing(place, answer.status().as_u16()));
        }
        let mut whole = http::Response::new(Vec::new());
        *whole.status_mut() = answer.status();
        *whole.headers_mut() = std::mem::take(answer.headers_mut());
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if whole.body().len() + chunk.len() > self.bounds.size {
                return Err(ProviderClientError::TooLarge(place, self.bounds.size));
            }
            whole.body_mut().extend_from_slice(&chunk);
        }
        Ok(whole)
    }

    fn allows(&self, url: &Url) -> bool {
        url.scheme() == "https" || (self.plain_loopback && is_plain_loopback(url))
    }
}

impl<'c> AsyncHttpClient<'c> for ProviderClient {
    type Error = ProviderClientError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Self::Error>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// A client that follows nobody and waits for so long; where it goes and what it reads is for its owner to bound.
pub(super) fn unbounded(ca_file: Option<&Path>, bounds: Bounds) -> Result<reqwest::Client, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(bounds.connect)
        .timeout(bounds.total)
        .user_agent(concat!("mlgate/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("the HTTP client cannot be built: {error}"))
}

/// Scheme, host and path: queries may carry secrets.
fn place(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// The innermost cause, which is the one that tells something.
pub(super) fn reason(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(plain_loopback: bool, url: &str) -> bool {
        let client = ProviderClient::new(None, plain_loopback, Bounds::default()).unwrap();
        client.allows(&Url::parse(url).unwrap())
    }

    #[test]
    fn plain_http_goes_nowhere_but_to_this_machine() {
        for url in ["http://127.0.0.1:1/", "http://localhost/", "http://[::1]:8/"] {
            assert!(allowed(true, url), "{url}");
            assert!(!allowed(false, url), "{url}");
        }
        for url in [
            "http://idp.example.com/",
            "http://localhost.evil.test/",
            "http://10.0.0.1/",
            "ftp://localhost/",
        ] {
            assert!(!allowed(true, url), "{url}");
        }
        assert!(allowed(false, "https://idp.example.com/"));
    }

    #[test]
    fn an_error_never_shows_a_query() {
        assert_eq!(
            place(&Url::parse("https://u:p@idp.test/token?code=s3cret").unwrap()),
            "https://idp.test/token"
        );
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(ProviderClient::new(Some(file.path()), false, Bounds::default()).is_err());
        assert!(ProviderClient::new(Some(Path::new("/nonexistent.pem")), false, Bounds::default()).is_err());
    }
}
