//! Signing in by a browser elsewhere: the device grant (RFC 8628), with PKCE (RFC 7636) on it.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::domain::{Clock, Random, visible};

use super::credentials::Entry;
use super::grant::{self, Endpoints, GrantError, refused};
use super::http::Http;
use super::metadata::Metadata;
use super::pkce::Pkce;
use super::{CLIENT_ID, Failure, GatewayUrl};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// RFC 8628, 3.2 and 3.5.
const INTERVAL: u64 = 5;
const SLOWER: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(200);

/// A sign-in that waits for a person with another browser.
pub struct DeviceSignIn {
    pub user_code: String,
    pub verification_uri: Url,
    pub verification_uri_complete: Option<Url>,
    pub expires_in: Duration,
    device_code: String,
    interval: Duration,
    pkce: Pkce,
    url: GatewayUrl,
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Authorization {
    device_code: String,
    user_code: String,
    verification_uri: Url,
    verification_uri_complete: Option<Url>,
    expires_in: u64,
    interval: Option<u64>,
}

impl DeviceSignIn {
    /// `host_name` is shown to who approves, as claimed.
    pub(super) async fn begin(
        url: &GatewayUrl,
        metadata: &Metadata,
        http: &Http,
        host_name: Option<&str>,
        random: &dyn Random,
    ) -> Result<Self, Failure> {
        let endpoint = metadata.device_authorization_endpoint.clone().ok_or_else(|| {
            Failure::Refused(format!(
                "the gateway at {url} does not sign in by code; on a machine with a browser use: mlgate login {url}"
            ))
        })?;
        let pkce = Pkce::new(random);
        let mut fields = vec![
            ("client_id", CLIENT_ID),
            ("code_challenge", pkce.challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        fields.extend(host_name.map(|name| ("host_name", name)));
        let answer = http
            .post_form(endpoint, &fields)
            .await
            .map_err(|away| Failure::Failed(away.0))?;
        if !answer.status.is_success() {
            return Err(match refused(&answer) {
                GrantError::OAuth { text, .. } => Failure::Refused(format!("{url} gives no code: {text}")),
                other => Failure::Failed(format!("{url} gives no code: {}", other.text())),
            });
        }
        let strange = || Failure::Failed(format!("{url} gives a code that cannot be read"));
        let told: Authorization = serde_json::from_value(answer.body).map_err(|_| strange())?;
        let places = [Some(&told.verification_uri), told.verification_uri_complete.as_ref()];
        if places.into_iter().flatten().any(|place| !url.holds(place)) {
            return Err(strange());
        }
        Ok(Self {
            user_code: visible(&told.user_code),
            verification_uri: told.verification_uri,
            verification_uri_complete: told.verification_uri_complete,
            expires_in: Duration::from_secs(told.expires_in.min(3600)),
            device_code: told.device_code,
            interval: Duration::from_secs(told.interval.unwrap_or(INTERVAL)).clamp(Duration::from_secs(1), LONGEST),
            pkce,
            url: url.clone(),
            endpoints: Endpoints::from(metadata),
        })
    }

    /// Asks until somebody has decided; `tick` is told how long the code is still good.
    pub(super) async fn finish(
        self,
        http: &Http,
        clock: &dyn Clock,
        tick: &mut dyn FnMut(Duration),
    ) -> Result<Entry, Failure> {
        let again =
            |what: &str| Failure::Failed(format!("{what}; start again with: mlgate login {} --device", self.url));
        let end = Instant::now() + self.expires_in;
        let mut interval = self.interval;
        let fields = [
            ("grant_type", GRANT),
            ("device_code", self.device_code.as_str()),
            ("code_verifier", self.pkce.verifier.expose()),
        ];
        loop {
            let next = Instant::now() + interval;
            while Instant::now() < next {
                if Instant::now() >= end {
                    return Err(again("the code has expired before it was approved"));
                }
                tick(end.saturating_duration_since(Instant::now()));
                sleep(TICK.min(next.saturating_duration_since(Instant::now()))).await;
            }
            match grant::ask(http, clock, &self.endpoints, &fields).await {
                Ok(entry) => return Ok(entry),
                Err(GrantError::OAuth { error, text }) => match error.as_str() {
                    "authorization_pending" => {}
                    "slow_down" => interval = (interval + SLOWER).min(LONGEST),
                    "access_denied" => {
                        return Err(Failure::Refused(format!(
                            "the sign-in was refused in the browser: {text}"
                        )));
                    }
                    "expired_token" => return Err(again("the code has expired before it was approved")),
                    _ => return Err(again(&format!("{} gives no tokens: {text}", self.url))),
                },
                // RFC 8628, 3.5: after a time-out the polls grow rarer.
                Err(GrantError::Away(_)) => interval = (interval * 2).min(LONGEST),
                Err(GrantError::Strange(text)) => return Err(again(&text)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use crate::client::Environment;
    use crate::client::stand_in::StandIn;
    use crate::domain::{SystemClock, SystemRandom};

    use super::*;

    async fn begin(gateway: &StandIn, code: Value) -> Result<(Http, DeviceSignIn), Failure> {
        let url = gateway.url();
        let http = Http::new(&url, &Environment::default(), Arc::new(SystemClock)).unwrap();
        let metadata = Metadata::fetch(&http, &url).await.unwrap();
        gateway.answer("/auth/oauth2/device_authorization", 200, code);
        let begun = DeviceSignIn::begin(&url, &metadata, &http, Some("gpu-7"), &SystemRandom::new()).await?;
        Ok((http, begun))
    }

    fn code(gateway: &StandIn) -> Value {
        json!({
            "device_code": "d3vice", "user_code": "BDWP-HQPK", "verification_uri": gateway.url().at("/auth/device"),
            "expires_in": 300, "interval": 1,
        })
    }

    #[tokio::test]
    async fn it_asks_until_somebody_has_decided_and_slower_when_told_so() {
        let gateway = StandIn::start().await;
        let (http, begun) = begin(&gateway, code(&gateway)).await.unwrap();
        assert_eq!(begun.user_code, "BDWP-HQPK");
        assert_eq!(
            gateway.asked("/auth/oauth2/device_authorization")[0]["host_name"],
            "gpu-7"
        );
        for (status, error) in [(400, "authorization_pending"), (400, "slow_down")] {
            gateway.answer("/auth/oauth2/token", status, json!({"error": error}));
        }
        gateway.answer(
            "/auth/oauth2/token",
            200,
            json!({"access_token": "mlg_at_1", "token_type": "Bearer"}),
        );
        let start = Instant::now();
        let entry = begun.finish(&http, &SystemClock, &mut |_| {}).await.unwrap();
        assert_eq!(entry.access_token, "mlg_at_1");
        // Twice a second, and then six.
        assert!(start.elapsed() >= Duration::from_secs(8), "{:?}", start.elapsed());
        assert_eq!(gateway.asked("/auth/oauth2/token")[2]["device_code"], "d3vice");
    }

    #[tokio::test]
    async fn a_no_and_an_expired_code_end_it() {
        for (error, refused) in [
            ("access_denied", true),
            ("expired_token", false),
            ("invalid_grant", false),
        ] {
            let gateway = StandIn::start().await;
            let (http, begun) = begin(&gateway, code(&gateway)).await.unwrap();
            gateway.answer("/auth/oauth2/token", 400, json!({"error": error}));
            let failure = begun.finish(&http, &SystemClock, &mut |_| {}).await.err().unwrap();
            assert_eq!(matches!(failure, Failure::Refused(_)), refused, "{error}: {failure}");
        }
        let gateway = StandIn::start().await;
        let mut short = code(&gateway);
        short["expires_in"] = 0.into();
        let (http, begun) = begin(&gateway, short).await.unwrap();
        let failure = begun.finish(&http, &SystemClock, &mut |_| {}).await.err().unwrap();
        assert!(failure.to_string().contains("expired"), "{failure}");
    }

    #[tokio::test]
    async fn a_code_for_another_place_is_not_shown() {
        let gateway = StandIn::start().await;
        let mut elsewhere = code(&gateway);
        elsewhere["verification_uri"] = "https://evil.test/device".into();
        assert!(begin(&gateway, elsewhere).await.is_err());
        assert!(begin(&gateway, json!({})).await.is_err());
    }
}
