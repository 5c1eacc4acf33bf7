//! A token that is good for a while, whatever many processes ask for one: who holds the lock refreshes, the others read.

use std::future::Future;

use tokio::time::sleep;
use url::Url;

use crate::domain::{Clock, Random};

use super::credentials::{Credentials, Entry, Turn};
use super::grant::{self, Endpoints, GrantError};
use super::http::Http;
use super::session::{ended, is_end};
use super::{Failure, GatewayUrl};

pub(super) async fn entry(
    url: &GatewayUrl,
    credentials: &Credentials,
    http: impl Fn() -> Result<Http, Failure>,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<Entry, Failure> {
    let fresh = |contents: &super::credentials::Contents| {
        let entry = contents.entry(url)?;
        entry.is_fresh(clock.now()).then(|| entry.clone())
    };
    let contents = credentials.read()?;
    if let Some(entry) = fresh(&contents) {
        return Ok(entry);
    }
    if contents.entry(url).is_none() {
        return Err(Failure::not_signed_in(url));
    }
    let turn = match credentials.turn(fresh).await? {
        Ok(turn) => turn,
        Err(entry) => return Ok(entry),
    };
    let contents = turn.read()?;
    if let Some(entry) = fresh(&contents) {
        return Ok(entry);
    }
    let Some(stale) = contents.entry(url).cloned() else {
        return Err(Failure::not_signed_in(url));
    };
    refresh(url, &turn, &stale, &http()?, clock, random).await
}

async fn refresh(
    url: &GatewayUrl,
    turn: &Turn<'_>,
    stale: &Entry,
    http: &Http,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<Entry, Failure> {
    let (Some(endpoints), Some(token)) = (endpoints(url, stale), &stale.refresh_token) else {
        return match stale.is_alive(clock.now()) {
            true => Ok(stale.clone()),
            false => Err(ended(url, "")),
        };
    };
    let fields = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
    let mut contents = turn.read()?;
    // The same refresh token may be shown again: a gateway that had answered gives the same successor for a while.
    match persist(|| grant::ask(http, clock, &endpoints, &fields)).await {
        Ok(mut entry) => {
            // RFC 6749, 6: without a new one the old one stays.
            entry.refresh_token = entry.refresh_token.or_else(|| stale.refresh_token.clone());
            entry.further = stale.further.clone();
            contents.gateways.insert(url.to_string(), entry.clone());
            turn.write(&contents, random)?;
            Ok(entry)
        }
        Err(error) if is_end(&error) => {
            // Nobody needs to ask with it again.
            contents.gateways.remove(&url.to_string());
            turn.write(&contents, random)?;
            Err(ended(url, ""))
        }
        // It would have been renewed a little early; it is good still.
        Err(GrantError::Away(_)) if stale.is_alive(clock.now()) => Ok(stale.clone()),
        Err(error) => Err(Failure::Failed(format!(
            "the token for {url} cannot be refreshed: {}",
            error.text()
        ))),
    }
}

/// Where the entry says to ask, if that is the gateway itself.
fn endpoints(url: &GatewayUrl, entry: &Entry) -> Option<Endpoints> {
    let token = Url::parse(&entry.token_endpoint)
        .ok()
        .filter(|endpoint| url.holds(endpoint))?;
    let revocation = entry
        .revocation_endpoint
        .as_deref()
        .and_then(|text| Url::parse(text).ok());
    Some(Endpoints { token, revocation })
}

/// Asks again for some seconds while nobody answers.
async fn persist<F: Future<Output = Result<Entry, GrantError>>>(ask: impl Fn() -> F) -> Result<Entry, GrantError> {
    let mut tries = 0;
    loop {
        match ask().await {
            Err(GrantError::Away(text)) => match grant::pause(tries) {
                Some(pause) => sleep(pause).await,
                None => return Err(GrantError::Away(text)),
            },
            outcome => return outcome,
        }
        tries += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::{Map, json};

    use crate::client::stand_in::StandIn;
    use crate::client::{Client, Environment};
    use crate::domain::{SystemClock, SystemRandom};

    use super::*;

    const TOKEN: &str = "/auth/oauth2/token";

    /// A sign-in whose token ended a minute ago, in a folder of its own.
    async fn signed_in(gateway: &StandIn) -> (tempfile::TempDir, Environment) {
        let folder = tempfile::tempdir().unwrap();
        let environment = Environment {
            credentials: Some(folder.path().join("mlgate/credentials.json")),
            ..Environment::default()
        };
        let credentials = Credentials::new(&environment).unwrap();
        let turn = credentials.own_turn().await.unwrap();
        let mut contents = turn.read().unwrap();
        let now = SystemClock.now().seconds();
        contents.gateways.insert(
            gateway.url().to_string(),
            Entry {
                client_id: "mlgate-cli".into(),
                token_endpoint: gateway.url().at(TOKEN),
                revocation_endpoint: Some(gateway.url().at("/auth/oauth2/revoke")),
                access_token: "mlg_at_old".into(),
                issued_at: now - 120,
                expires_at: now - 60,
                refresh_token: Some("mlg_rt_0".into()),
                further: Map::new(),
            },
        );
        contents.default = Some(gateway.url().to_string());
        turn.write(&contents, &SystemRandom::new()).unwrap();
        (folder, environment)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_at_once_refresh_once() {
        let gateway = StandIn::start().await;
        let (_folder, environment) = signed_in(&gateway).await;
        gateway.answer(
            TOKEN,
            200,
            json!({"access_token": "mlg_at_1", "token_type": "bearer", "expires_in": 60, "refresh_token": "mlg_rt_1"}),
        );
        let good = Arc::new(AtomicU32::new(0));
        let mut tasks = Vec::new();
        for _ in 0..64 {
            let (url, environment, good) = (gateway.url(), environment.clone(), Arc::clone(&good));
            tasks.push(tokio::spawn(async move {
                let token = Client::new(environment).unwrap().token(&url).await.unwrap();
                assert_eq!(token.expose(), "mlg_at_1");
                good.fetch_add(1, Ordering::SeqCst);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(good.load(Ordering::SeqCst), 64);
        let asked = gateway.asked(TOKEN);
        assert_eq!(asked.len(), 1);
        assert_eq!(
            (&*asked[0]["refresh_token"], &*asked[0]["grant_type"]),
            ("mlg_rt_0", "refresh_token")
        );
    }

    #[tokio::test]
    async fn a_sign_in_that_has_ended_is_forgotten_and_asked_about_once() {
        let gateway = StandIn::start().await;
        let (_folder, environment) = signed_in(&gateway).await;
        gateway.answer(TOKEN, 400, json!({"error": "invalid_grant"}));
        let client = Client::new(environment).unwrap();
        for _ in 0..2 {
            let failure = client.token(&gateway.url()).await.err().unwrap();
            let told = failure.to_string();
            assert!(matches!(failure, Failure::NotSignedIn(_)), "{told}");
            assert!(told.contains(&format!("mlgate login {}", gateway.url())), "{told}");
        }
        assert_eq!(gateway.asked(TOKEN).len(), 1);
        // And the next command without an address still knows which gateway it was.
        assert_eq!(client.gateway(None).unwrap(), gateway.url());
    }

    #[tokio::test]
    async fn a_gateway_that_is_away_for_a_moment_fails_nobody() {
        let gateway = StandIn::start().await;
        let (_folder, environment) = signed_in(&gateway).await;
        gateway.answer(TOKEN, 503, json!({}));
        gateway.answer(
            TOKEN,
            200,
            json!({"access_token": "mlg_at_1", "token_type": "bearer", "expires_in": 60}),
        );
        let client = Client::new(environment).unwrap();
        assert_eq!(client.token(&gateway.url()).await.unwrap().expose(), "mlg_at_1");
    }

    #[tokio::test]
    async fn signing_out_revokes_and_forgets_even_where_nobody_answers() {
        let gateway = StandIn::start().await;
        let (_folder, environment) = signed_in(&gateway).await;
        gateway.answer("/auth/oauth2/revoke", 200, json!({}));
        let client = Client::new(environment).unwrap();
        assert_eq!(
            client.log_out(&gateway.url()).await.unwrap(),
            crate::client::Ended::Everywhere
        );
        assert_eq!(gateway.asked("/auth/oauth2/revoke")[0]["token"], "mlg_rt_0");
        assert!(matches!(
            client.log_out(&gateway.url()).await,
            Err(Failure::NotSignedIn(_))
        ));
        let gateway = StandIn::start().await;
        let (_folder, environment) = signed_in(&gateway).await;
        gateway.answer("/auth/oauth2/revoke", 503, json!({}));
        let client = Client::new(environment).unwrap();
        assert!(matches!(
            client.log_out(&gateway.url()).await.unwrap(),
            crate::client::Ended::HereAlone(_)
        ));
        assert!(matches!(
            client.token(&gateway.url()).await,
            Err(Failure::NotSignedIn(_))
        ));
    }
}
