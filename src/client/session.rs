//! One sign-in, from its beginning to its end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use crate::domain::{Clock, Random, Secret, SystemClock, SystemRandom};

use super::credentials::{Credentials, Entry};
use super::device::DeviceSignIn;
use super::fresh;
use super::grant::{GrantError, refused};
use super::http::Http;
use super::loopback::LoopbackSignIn;
use super::metadata::Metadata;
use super::{Account, Environment, Failure, GatewayUrl};

/// What the commands act through.
pub struct Client {
    environment: Environment,
    credentials: Credentials,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

/// What became of a sign-out, beyond that the tokens are gone from this machine.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Everywhere,
    /// The gateway could not be told; why.
    HereAlone(String),
}

impl Client {
    /// # Errors
    /// When there is no place for credentials.
    pub fn new(environment: Environment) -> Result<Self, Failure> {
        Ok(Self {
            credentials: Credentials::new(&environment)?,
            environment,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom::new()),
        })
    }

    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The gateway that was typed, or else the one that was signed in to last.
    ///
    /// # Errors
    /// When there is none.
    pub fn gateway(&self, typed: Option<&str>) -> Result<GatewayUrl, Failure> {
        let text = match typed {
            Some(typed) => typed.to_owned(),
            None => self.credentials.read()?.default.ok_or_else(|| {
                Failure::NotSignedIn("not signed in anywhere; sign in with: mlgate login URL".to_owned())
            })?,
        };
        GatewayUrl::parse(&text).map_err(|wrong| Failure::Failed(format!("{text:?} {wrong}")))
    }

    /// # Errors
    /// When the gateway is away, or is none.
    pub async fn begin_by_browser(&self, url: &GatewayUrl) -> Result<LoopbackSignIn, Failure> {
        let metadata = Metadata::fetch(&self.http(url)?, url).await?;
        LoopbackSignIn::begin(url, metadata, self.environment.host_name.as_deref(), &*self.random).await
    }

    /// # Errors
    /// When the gateway is away, is none, or signs nobody in by code (`Refused`).
    pub async fn begin_by_code(&self, url: &GatewayUrl) -> Result<DeviceSignIn, Failure> {
        let http = self.http(url)?;
        let metadata = Metadata::fetch(&http, url).await?;
        DeviceSignIn::begin(
            url,
            &metadata,
            &http,
            self.environment.host_name.as_deref(),
            &*self.random,
        )
        .await
    }

    /// Waits for the browser and keeps what it brings; `tick` is told how long that may still take.
    ///
    /// # Errors
    /// When nobody signs in, or it is refused.
    pub async fn finish_by_browser(
        &self,
        url: &GatewayUrl,
        begun: LoopbackSignIn,
        tick: &mut dyn FnMut(Duration),
    ) -> Result<(), Failure> {
        let entry = begun.finish(&self.http(url)?, &*self.clock, tick).await?;
        self.keep(url, entry).await
    }

    /// Likewise for a code.
    ///
    /// # Errors
    /// When nobody approves it in time, or it is refused.
    pub async fn finish_by_code(
        &self,
        url: &GatewayUrl,
        begun: DeviceSignIn,
        tick: &mut dyn FnMut(Duration),
    ) -> Result<(), Failure> {
        let entry = begun.finish(&self.http(url)?, &*self.clock, tick).await?;
        self.keep(url, entry).await
    }

    async fn keep(&self, url: &GatewayUrl, entry: Entry) -> Result<(), Failure> {
        let turn = self.credentials.own_turn().await?;
        let mut contents = turn.read()?;
        let before = contents.gateways.insert(url.to_string(), entry);
        contents.default = Some(url.to_string());
        turn.write(&contents, &*self.random)?;
        drop(turn);
        if let Some(before) = before {
            // It would live on at the gateway, with nobody left to use it. If it cannot be told now, it ends by itself.
            let _ = self.revoke(url, &before).await;
        }
        Ok(())
    }

    /// An access token that is good for a while.
    ///
    /// # Errors
    /// `NotSignedIn` where there is no sign-in or it has ended; `Failed` when it must be refreshed and the gateway is away.
    pub async fn token(&self, url: &GatewayUrl) -> Result<Secret, Failure> {
        let entry = self.entry(url).await?;
        Ok(Secret::new(entry.access_token))
    }

    /// The same, and until when it is good (Unix seconds).
    ///
    /// # Errors
    /// As [`Client::token`].
    pub async fn token_and_end(&self, url: &GatewayUrl) -> Result<(Secret, String), Failure> {
        let entry = self.entry(url).await?;
        let end = super::http::minute(crate::domain::Timestamp::from_seconds(entry.expires_at));
        Ok((Secret::new(entry.access_token), end))
    }

    async fn entry(&self, url: &GatewayUrl) -> Result<Entry, Failure> {
        fresh::entry(url, &self.credentials, || self.http(url), &*self.clock, &*self.random).await
    }

    /// # Errors
    /// `NotSignedIn` where the gateway does not know the token any more.
    pub async fn account(&self, url: &GatewayUrl) -> Result<Account, Failure> {
        let token = self.token(url).await?;
        let address = Url::parse(&url.at("/auth/account")).map_err(|error| Failure::Failed(error.to_string()))?;
        let answer = self
            .http(url)?
            .get(address, Some(token.expose()))
            .await
            .map_err(|away| Failure::Failed(away.0))?;
        match answer.status.as_u16() {
            200 => Account::new(answer.body).ok_or_else(|| {
                Failure::Failed(format!("{url} does not say who you are: the answer is something else"))
            }),
            401 => Err(ended(url, &answer.clock_hint)),
            403 => Err(Failure::Refused(refused(&answer).text().to_owned())),
            _ => Err(Failure::Failed(refused(&answer).text().to_owned())),
        }
    }

    /// A request to the operator's API, by `MLGATE_TOKEN` or as who is signed in; `path` has its query already.
    ///
    /// # Errors
    /// `Refused` where that is no admin.
    pub async fn administer(
        &self,
        url: &GatewayUrl,
        method: http::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let token = match &self.environment.token {
            Some(token) => token.clone(),
            None => self.token(url).await?,
        };
        let address = Url::parse(&url.at(path)).map_err(|error| Failure::Failed(error.to_string()))?;
        let answer = self
            .http(url)?
            .json(method, address, token.expose(), body)
            .await
            .map_err(|away| Failure::Failed(away.0))?;
        match answer.status.as_u16() {
            200..300 => Ok(answer.body),
            401 => Err(ended(url, &answer.clock_hint)),
            403 => Err(Failure::Refused(refused(&answer).text().to_owned())),
            _ => Err(Failure::Failed(refused(&answer).text().to_owned())),
        }
    }

    /// Gives a group a permission on an experiment (`change`: group and permission), or tells who has what on it.
    ///
    /// # Errors
    /// `Refused` where somebody else has to share it.
    pub async fn share(
        &self,
        url: &GatewayUrl,
        experiment: &str,
        change: Option<(&str, &str)>,
    ) -> Result<Value, Failure> {
        let token = self.token(url).await?;
        let mut address = Url::parse(&url.at("/auth/share")).map_err(|error| Failure::Failed(error.to_string()))?;
        let http = self.http(url)?;
        let answer = match change {
            Some((group, permission)) => {
                let body = json!({"experiment": experiment, "group": group, "permission": permission});
                http.post_json(address, token.expose(), &body).await
            }
            None => {
                address.query_pairs_mut().append_pair("experiment", experiment);
                http.get(address, Some(token.expose())).await
            }
        };
        let answer = answer.map_err(|away| Failure::Failed(away.0))?;
        match answer.status.as_u16() {
            200 => Ok(answer.body),
            401 => Err(ended(url, &answer.clock_hint)),
            403 => Err(Failure::Refused(refused(&answer).text().to_owned())),
            _ => Err(Failure::Failed(refused(&answer).text().to_owned())),
        }
    }

    /// Revokes at the gateway (RFC 7009), and forgets whatever that says: the tokens are to be gone from here in any case.
    ///
    /// # Errors
    /// `NotSignedIn` where there is nothing to end.
    pub async fn log_out(&self, url: &GatewayUrl) -> Result<Ended, Failure> {
        let turn = self.credentials.own_turn().await?;
        let mut contents = turn.read()?;
        let entry = contents.forget(url).ok_or_else(|| Failure::not_signed_in(url))?;
        turn.write(&contents, &*self.random)?;
        drop(turn);
        Ok(match self.revoke(url, &entry).await {
            Ok(()) => Ended::Everywhere,
            Err(why) => Ended::HereAlone(why),
        })
    }

    async fn revoke(&self, url: &GatewayUrl, entry: &Entry) -> Result<(), String> {
        let endpoint = entry
            .revocation_endpoint
            .as_deref()
            .and_then(|text| Url::parse(text).ok());
        let endpoint = endpoint
            .filter(|endpoint| url.holds(endpoint))
            .ok_or("the gateway named no address for that")?;
        // Ending the refresh token ends all that came from it.
        let (token, hint) = match &entry.refresh_token {
            Some(refresh) => (refresh.as_str(), "refresh_token"),
            None => (entry.access_token.as_str(), "access_token"),
        };
        let fields = [
            ("client_id", entry.client_id.as_str()),
            ("token", token),
            ("token_type_hint", hint),
        ];
        let http = self.http(url).map_err(|failure| failure.to_string())?;
        let answer = http.post_form(endpoint, &fields).await.map_err(|away| away.0)?;
        match answer.status.is_success() {
            true => Ok(()),
            false => Err(refused(&answer).text().to_owned()),
        }
    }

    fn http(&self, url: &GatewayUrl) -> Result<Http, Failure> {
        Http::new(url, &self.environment, Arc::clone(&self.clock)).map_err(Failure::Failed)
    }
}

/// The sign-in is over, whatever ended it.
pub(super) fn ended(url: &GatewayUrl, hint: &str) -> Failure {
    Failure::NotSignedIn(format!(
        "the sign-in at {url} has ended (signed out, revoked, or too old){hint}; sign in again with: mlgate login {url}"
    ))
}

/// Whether a no means that the sign-in is over.
pub(super) fn is_end(error: &GrantError) -> bool {
    matches!(error, GrantError::OAuth { error, .. } if error == "invalid_grant")
}
