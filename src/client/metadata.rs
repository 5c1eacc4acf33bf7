//! What a gateway says of its authorization server (RFC 8414).

use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::http::Http;
use super::{Failure, GatewayUrl};

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) authorization_endpoint: Option<Url>,
    pub(super) token_endpoint: Url,
    pub(super) device_authorization_endpoint: Option<Url>,
    pub(super) revocation_endpoint: Option<Url>,
    /// RFC 9207: then an answer without `iss` is not the gateway's.
    #[serde(default, rename = "authorization_response_iss_parameter_supported")]
    pub(super) tells_issuer: bool,
}

impl Metadata {
    pub(super) async fn fetch(http: &Http, url: &GatewayUrl) -> Result<Self, Failure> {
        let address = Url::parse(&url.at(WELL_KNOWN)).map_err(|error| Failure::Failed(error.to_string()))?;
        let answer = http.get(address, None).await.map_err(|away| Failure::Failed(away.0))?;
        if !answer.status.is_success() {
            return Err(Failure::Failed(if answer.status.is_server_error() {
                format!("the gateway at {url} is not well: it answers {}", answer.status)
            } else {
                format!(
                    "there is no mlgate at {url}: it answers {} for {WELL_KNOWN}",
                    answer.status
                )
            }));
        }
        Self::read(answer.body, url).map_err(Failure::Failed)
    }

    fn read(body: Value, url: &GatewayUrl) -> Result<Self, String> {
        let metadata: Self = serde_json::from_value(body)
            .map_err(|_| format!("there is no mlgate at {url}: it answers something else"))?;
        // RFC 8414, 3.3: else one gateway could speak for another.
        match GatewayUrl::parse(&metadata.issuer) {
            Ok(issuer) if issuer == *url => {}
            Ok(issuer) => {
                return Err(format!(
                    "the gateway at {url} calls itself {issuer}; sign in with: mlgate login {issuer}"
                ));
            }
            Err(_) => return Err(format!("the gateway at {url} gives itself an address that is none")),
        }
        let named = [
            metadata.authorization_endpoint.as_ref(),
            Some(&metadata.token_endpoint),
            metadata.device_authorization_endpoint.as_ref(),
            metadata.revocation_endpoint.as_ref(),
        ];
        if named.into_iter().flatten().any(|endpoint| !url.holds(endpoint)) {
            return Err(format!(
                "the gateway at {url} names an endpoint of another place; nothing was sent there"
            ));
        }
        Ok(metadata)
    }

    /// As the gateway writes itself, for comparing `iss` letter by letter.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(issuer: &str, token: &str) -> Result<Metadata, String> {
        let url = GatewayUrl::parse("https://a.test").unwrap();
        Metadata::read(json!({"issuer": issuer, "token_endpoint": token}), &url)
    }

    #[test]
    fn nobody_speaks_for_another() {
        assert!(read("https://a.test", "https://a.test/auth/oauth2/token").is_ok());
        assert!(read("https://a.test/", "https://a.test/auth/oauth2/token").is_ok());
        let other = read("https://b.test", "https://b.test/auth/oauth2/token").unwrap_err();
        assert!(other.contains("mlgate login https://b.test"), "{other}");
        assert!(read("https://a.test", "https://b.test/auth/oauth2/token").is_err());
        assert!(read("https://a.test", "http://a.test/auth/oauth2/token").is_err());
        assert!(read("http://a.test", "https://a.test/t").is_err());
        let url = GatewayUrl::parse("https://a.test").unwrap();
        assert!(Metadata::read(Value::Null, &url).is_err());
    }
}
