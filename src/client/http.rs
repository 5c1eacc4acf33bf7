//! One gateway over HTTP: bounded, without redirects, and with words for everything that can go wrong on the way.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use reqwest::{Client, RequestBuilder};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig};
use serde_json::Value;
use url::Url;

use crate::domain::{Clock, Timestamp};
use crate::outbound::trust::{certificates, roots, told};

use super::{Environment, GatewayUrl};

const CONNECT: Duration = Duration::from_secs(5);
const TOTAL: Duration = Duration::from_secs(15);
const ANSWER_LIMIT: usize = 1 << 20;
/// A list of 100,000 sessions has about 30 MB.
const LIST_LIMIT: usize = 256 << 20;
/// From which difference of the clocks on it is worth a word.
const SKEW: Duration = Duration::from_secs(120);

pub(super) struct Http {
    client: Client,
    clock: Arc<dyn Clock>,
}

/// A whole answer; `body` is null where it is no JSON.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// What to say about this machine's clock, where it differs from the gateway's.
    pub(super) clock_hint: String,
}

/// No answer came; the text says why, and never holds a secret.
#[derive(Debug)]
pub(super) struct Away(pub(super) String);

impl Http {
    /// # Errors
    /// When a certificate that the environment names cannot be used.
    pub(super) fn new(url: &GatewayUrl, environment: &Environment, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots(environment.ca_file.as_deref())?);
        let tls = match &environment.client_cert_file {
            Some(file) => {
                let key = PrivateKeyDer::from_pem_file(file).map_err(|error| told(file, error))?;
                builder
                    .with_client_auth_cert(certificates(file)?, key)
                    .map_err(|error| told(file, error))?
            }
            None => builder.with_no_client_auth(),
        };
        let mut client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT)
            .timeout(TOTAL)
            .user_agent(concat!("mlgate/", env!("CARGO_PKG_VERSION")));
        if url.is_plain_loopback() {
            client = client.no_proxy();
        }
        let client = client
            .build()
            .map_err(|error| format!("the HTTP client cannot be built: {error}"))?;
        Ok(Self { client, clock })
    }

    pub(super) async fn get(&self, url: Url, bearer: Option<&str>) -> Result<Answer, Away> {
        let mut request = self.client.get(url.clone()).header("Accept", "application/json");
        if let Some(token) = bearer {
            request = request.bearer_auth(token);
        }
        self.send(&url, request).await
    }

    pub(super) async fn post_form(&self, url: Url, fields: &[(&str, &str)]) -> Result<Answer, Away> {
        let request = self.client.post(url.clone()).header("Accept", "application/json");
        self.send(&url, request.form(fields)).await
    }

    /// For the operator's API, whose lists are long.
    pub(super) async fn json(
        &self,
        method: http::Method,
        url: Url,
        bearer: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Away> {
        let mut request = self.client.request(method, url.clone()).bearer_auth(bearer);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send_within(&url, request, LIST_LIMIT).await
    }

    pub(super) async fn post_json(&self, url: Url, bearer: &str, body: &Value) -> Result<Answer, Away> {
        let request = self.client.post(url.clone()).header("Accept", "application/json");
        let request = request.header("Content-Type", "application/json").bearer_auth(bearer);
        self.send(&url, request.body(body.to_string())).await
    }

    async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Answer, Away> {
        self.send_within(url, request, ANSWER_LIMIT).await
    }

    async fn send_within(&self, url: &Url, request: RequestBuilder, limit: usize) -> Result<Answer, Away> {
        let place = url.origin().ascii_serialization();
        let failed = |error: reqwest::Error| Away(self.reason(&place, &error));
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(Away(format!(
                "{place} answers with a redirect; is this the gateway's own address?"
            )));
        }
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
        let clock_hint = date.and_then(|date| skew(date, self.clock.now())).unwrap_or_default();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > limit {
                return Err(Away(format!("{place} answers with more than {limit} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            clock_hint,
        })
    }

    fn reason(&self, place: &str, error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("{place} did not answer in time");
        }
        let (tls, cause) = innermost(error);
        match tls {
            Some(rustls::Error::InvalidCertificate(wrong)) => self.certificate(place, &wrong),
            _ => format!("{place} cannot be reached: {cause}"),
        }
    }

    fn certificate(&self, place: &str, wrong: &CertificateError) -> String {
        use CertificateError as Wrong;
        match wrong {
            Wrong::Expired | Wrong::ExpiredContext { .. } | Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => {
                format!(
                    "the certificate of {place} has expired or is not valid yet by this machine's clock, which says {}: \
                     if that is wrong, set the clock",
                    minute(self.clock.now())
                )
            }
            Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
                format!("{place} shows the certificate of another host")
            }
            _ => format!(
                "{place} shows a certificate that this machine does not trust; name the file of its CA in SSL_CERT_FILE or \
                 MLFLOW_TRACKING_SERVER_CERT_PATH"
            ),
        }
    }
}

/// TLS's own error in a chain, and the deepest cause's words.
fn innermost(error: &(dyn Error + 'static)) -> (Option<rustls::Error>, String) {
    let mut cause: &(dyn Error + 'static) = error;
    loop {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return (Some(tls.clone()), tls.to_string());
        }
        // What an `io::Error` wraps is not its source: that would be the source of what it wraps.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let deeper = wrapped
            .map(|inner| inner as &(dyn Error + 'static))
            .or_else(|| cause.source());
        match deeper {
            Some(deeper) => cause = deeper,
            None => return (None, cause.to_string().chars().take(200).collect()),
        }
    }
}

/// A word where the gateway's `Date` (RFC 9110, 5.6.7) is far from this machine's time.
fn skew(date: &str, now: Timestamp) -> Option<String> {
    let told = time::OffsetDateTime::parse(
        &date.replace("GMT", "+0000"),
        &time::format_description::well_known::Rfc2822,
    );
    let theirs = Timestamp::from_seconds(told.ok()?.unix_timestamp());
    let (apart, which) = if now > theirs {
        (now.since(theirs), "ahead of")
    } else {
        (theirs.since(now), "behind")
    };
    (apart > SKEW).then(|| {
        format!(
            "; this machine's clock is {} minutes {which} the gateway's",
            apart.as_secs() / 60
        )
    })
}

/// To the minute, UTC.
pub(super) fn minute(at: Timestamp) -> String {
    let text = at.rfc3339();
    format!("{} UTC", text.get(..16).unwrap_or(&text).replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_far_off_is_told_about() {
        let now = Timestamp::parse_rfc3339("2026-11-23T12:00:00Z").unwrap();
        assert_eq!(skew("Mon, 23 Nov 2026 12:01:00 GMT", now), None);
        assert_eq!(skew("nonsense", now), None);
        let ahead = skew("Mon, 23 Nov 2026 11:00:00 GMT", now).unwrap();
        assert!(ahead.contains("60 minutes ahead of"), "{ahead}");
        let behind = skew("Tue, 24 Nov 2026 12:00:00 GMT", now).unwrap();
        assert!(behind.contains("1440 minutes behind"), "{behind}");
    }

    #[test]
    fn what_an_io_error_wraps_is_looked_into() {
        let tls = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let (found, _) = innermost(&io::Error::other(tls.clone()));
        assert_eq!(found, Some(tls));
        assert_eq!(innermost(&io::Error::other("deep")).1, "deep");
    }
}
