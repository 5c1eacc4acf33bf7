//! The address of a gateway, in the one spelling that keys the credentials.

use std::fmt;

use url::Url;

use crate::outbound::trust::is_plain_loopback;

/// `https://host[:port][/path]`, or plain http to this machine; without a trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayUrl(Url);

impl GatewayUrl {
    /// As typed: without a scheme it is https, or http where it names this machine.
    ///
    /// # Errors
    /// When it is no address that credentials could be sent to.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let typed = typed.trim();
        let whole = if typed.contains("://") {
            typed.to_owned()
        } else {
            let plain = format!("http://{typed}");
            match Url::parse(&plain) {
                Ok(url) if is_plain_loopback(&url) => plain,
                _ => format!("https://{typed}"),
            }
        };
        let mut url = Url::parse(&whole).map_err(|error| format!("not the address of a gateway: {error}"))?;
        if url.scheme() != "https" && !is_plain_loopback(&url) {
            return Err("must be https: over plain http everyone on the way could read your credentials".into());
        }
        if !url.has_host() || !url.username().is_empty() || url.password().is_some() {
            return Err("must be the address of a gateway, without a user name".into());
        }
        url.set_query(None);
        url.set_fragment(None);
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// An address below this one.
    pub fn at(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// Whether an address belongs to this gateway, so that it may see its credentials.
    pub fn holds(&self, other: &Url) -> bool {
        let base = self.0.path().trim_end_matches('/');
        let below = other.path().strip_prefix(base);
        other.origin() == self.0.origin() && below.is_some_and(|rest| rest.starts_with('/'))
    }

    pub fn url(&self) -> &Url {
        &self.0
    }

    pub fn is_plain_loopback(&self) -> bool {
        is_plain_loopback(&self.0)
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gateway_has_one_spelling() {
        for (typed, kept) in [
            ("https://MLflow.example.com/", "https://mlflow.example.com"),
            ("mlflow.example.com", "https://mlflow.example.com"),
            ("mlflow.example.com:443/ml/", "https://mlflow.example.com/ml"),
            (
                "https://mlflow.example.com/#/experiments/7",
                "https://mlflow.example.com",
            ),
            ("localhost:8080", "http://localhost:8080"),
            ("http://127.0.0.1:8080/?x", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(GatewayUrl::parse(typed).unwrap().to_string(), kept, "{typed}");
        }
    }

    #[test]
    fn credentials_go_nowhere_in_the_clear() {
        for typed in [
            "",
            "http://mlflow.example.com",
            "http://localhost.evil.test",
            "ftp://localhost",
            "https://ann:pw@mlflow.example.com",
            "https://",
        ] {
            assert!(GatewayUrl::parse(typed).is_err(), "{typed}");
        }
    }

    #[test]
    fn an_address_of_another_place_is_not_ours() {
        let gateway = GatewayUrl::parse("https://a.test/ml").unwrap();
        let holds = |url: &str| gateway.holds(&Url::parse(url).unwrap());
        assert!(holds("https://a.test/ml/auth/oauth2/token"));
        for other in [
            "https://a.test/mlx/auth",
            "https://a.test/auth",
            "https://b.test/ml/auth",
            "http://a.test/ml/auth",
            "https://a.test:8443/ml/auth",
        ] {
            assert!(!holds(other), "{other}");
        }
        assert!(
            GatewayUrl::parse("https://a.test")
                .unwrap()
                .holds(&Url::parse("https://a.test/x").unwrap())
        );
    }
}
