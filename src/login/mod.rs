//! How someone gets in and out again: every way ends in the same place, with a fresh session and one event in the trail.

mod account;
mod attempt;
mod diary;
mod ended;
pub mod oauth2;
mod return_to;
mod round_trip;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::{Actor, Audit, Http, Outcome};
use crate::config::Config;
use crate::domain::{Clock, Random, Reason, ReasonCode, Secret};
use crate::providers::{Issuers, Onward, ProviderError, Vouched, Way};
use crate::sessions::{Session, SessionError, Sessions};
use crate::store::{Sealer, Store, StoreError, Throttle, Throttled};
use crate::telemetry::Metrics;
use crate::tokens::Tokens;

use attempt::Attempts;
use diary::{Diary, actor_of};
use ended::Heard;
use oauth2::Oauth;

pub use account::{Account, NotMade, Wanted};
pub use attempt::Browser;
pub use diary::TrailAway;
pub use ended::ProviderLogout;
pub use return_to::{ReturnPaths, ReturnTo};

/// Longer names and passwords are nobody's; argon2 never sees them. Bytes.
const LONGEST_NAME: usize = 256;
const LONGEST_PASSWORD: usize = 1024;
const SIGNED_OUT: &str = "Signed out.";

/// One way in, as the configuration names it.
pub struct Provider {
    pub id: String,
    pub label: String,
    /// The domains whose people belong here, where the operator named them; lower case.
    pub domains: Vec<String>,
    pub way: Way,
}

/// Who is at the door: what a request shows besides what it asks for.
#[derive(Clone, Copy, Debug)]
pub struct Visitor<'a> {
    pub address: IpAddr,
    pub request_id: Option<&'a str>,
    /// The session cookie's value, whatever it is worth.
    pub session: Option<&'a str>,
    pub browser: Option<&'a Browser>,
}

/// The first step at a provider.
#[derive(Debug)]
pub enum Begun {
    /// Ask for user name and password.
    Form,
    /// Send the browser there, bound by this id.
    Away { onward: Onward, browser: Browser },
}

#[derive(Debug)]
pub struct SignedIn {
    /// The session cookie's value.
    pub cookie: Secret,
    pub session: Arc<Session>,
    pub return_to: ReturnTo,
}

/// Why nobody was signed in.
#[derive(Debug)]
pub enum NotSignedIn {
    UnknownProvider,
    /// Wrong user or wrong password; told apart nowhere.
    BadPassword,
    /// Guessed too often; try again after this.
    TooManyAttempts(Duration),
    /// The provider vouched for nobody whom we let in.
    Refused(Reason),
    /// No such attempt of this browser: too old, used already, or never begun here.
    StaleAttempt,
    ProviderAway,
    StoreAway,
    TrailAway,
}

impl From<StoreError> for NotSignedIn {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "sign-in");
        Self::StoreAway
    }
}

impl From<SessionError> for NotSignedIn {
    fn from(error: SessionError) -> Self {
        tracing::warn!(%error, "sign-in");
        Self::StoreAway
    }
}

impl From<TrailAway> for NotSignedIn {
    fn from(_: TrailAway) -> Self {
        Self::TrailAway
    }
}

/// The parts that signing in needs.
pub struct Parts {
    pub providers: Vec<Provider>,
    pub sessions: Arc<Sessions>,
    pub tokens: Arc<Tokens>,
    pub issuers: Arc<Issuers>,
    pub store: Arc<dyn Store>,
    pub sealer: Arc<Sealer>,
    pub audit: Arc<Audit>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

pub struct Login {
    providers: Vec<Provider>,
    sessions: Arc<Sessions>,
    attempts: Attempts,
    heard: Heard,
    throttle: Throttle,
    beginnings: Throttle,
    account: Account,
    oauth: Oauth,
    diary: Diary,
    metrics: Arc<Metrics>,
    returns: ReturnPaths,
    /// `public_url` without a trailing slash: absolute URLs come from the configuration alone, never from a request.
    site: String,
}

impl Login {
    pub fn new(config: &Config, parts: Parts) -> Self {
        let diary = Diary {
            audit: parts.audit.clone(),
            on_failure: config.audit.on_failure,
            clock: parts.clock.clone(),
            random: parts.random.clone(),
        };
        Self {
            account: Account::new(config, &parts, diary.clone()),
            oauth: Oauth::new(config, &parts, diary.clone()),
            diary,
            metrics: parts.metrics,
            providers: parts.providers,
            sessions: parts.sessions,
            throttle: Throttle::new(parts.store.clone(), "sign-in", config.limits.login_attempts),
            beginnings: Throttle::new(
                parts.store.clone(),
                "beginning",
                round_trip::beginnings(config.limits.login_attempts),
            ),
            heard: Heard::new(parts.store.clone()),
            attempts: Attempts::new(parts.store, parts.sealer),
            returns: ReturnPaths::new(config),
            site: config.public_url.as_str().trim_end_matches('/').to_owned(),
        }
    }

    /// All ways in, in the order of the configuration.
    pub fn choices(&self) -> &[Provider] {
        &self.providers
    }

    pub fn provider(&self, id: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.id == id)
    }

    /// The one provider for a person's address or domain.
    pub fn meant_by(&self, hint: &str) -> Option<&Provider> {
        let domain = hint.rsplit('@').next()?.to_ascii_lowercase();
        let mut fitting = self
            .providers
            .iter()
            .filter(|provider| provider.domains.contains(&domain));
        fitting.next().filter(|_| fitting.next().is_none())
    }

    /// A person's own sessions and tokens.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The authorization server.
    pub fn oauth(&self) -> &Oauth {
        &self.oauth
    }

    pub fn return_to(&self, asked: &str) -> ReturnTo {
        self.returns.choose(asked)
    }

    /// An id for a browser that has none yet.
    pub fn new_browser(&self) -> Browser {
        Browser::new(&*self.diary.random)
    }

    /// A user name and a password, for a provider that takes them.
    ///
    /// # Errors
    /// When they are wrong, were wrong too often, or the account may not come in.
    pub async fn password(
        &self,
        provider: &str,
        user: &str,
        password: &Secret,
        return_to: ReturnTo,
        visitor: Visitor<'_>,
    ) -> Result<SignedIn, NotSignedIn> {
        let provider = self.provider(provider).ok_or(NotSignedIn::UnknownProvider)?;
        let Way::Password(way) = &provider.way else {
            return Err(NotSignedIn::UnknownProvider);
        };
        if user.len() > LONGEST_NAME || password.expose().len() > LONGEST_PASSWORD {
            return Err(self
                .refuse(&provider.id, None, ProviderError::BadPassword, visitor)
                .await);
        }
        let canonical = way.canonical(user);
        if let Err(throttled) = self.throttle.admit(visitor.address, &provider.id, &canonical).await {
            return Err(self.slow_down(&provider.id, Some(canonical), throttled, visitor).await);
        }
        let vouched = match password.is_empty() {
            true => Err(ProviderError::BadPassword),
            false => {
                let started = Instant::now();
                let vouched = way.sign_in(user, password).await;
                self.metrics.provider(&provider.id, started.elapsed());
                vouched
            }
        };
        match vouched {
            Ok(vouched) => {
                self.throttle.succeeded(visitor.address, &provider.id, &canonical).await;
                self.open(vouched, return_to, visitor).await
            }
            Err(error) => Err(self.refuse(&provider.id, Some(canonical), error, visitor).await),
        }
    }

    /// Where every flow ends. The session that the browser may have had ends here: its id was known before, to whomever.
    async fn open(&self, vouched: Vouched, return_to: ReturnTo, visitor: Visitor<'_>) -> Result<SignedIn, NotSignedIn> {
        if let Some(before) = visitor.session {
            self.end(before, SIGNED_OUT, visitor).await?;
        }
        let Vouched {
            identity,
            state,
            until,
            names,
        } = vouched;
        let (cookie, session) = match self.provider(&identity.provider).map(|provider| &provider.way) {
            Some(Way::Redirect(_)) => {
                self.sessions
                    .open_for_provider(identity, visitor.address, state, &names, until)
                    .await?
            }
            Some(Way::Password(_)) | None => self.sessions.open(identity, visitor.address, state).await?,
        };
        let reason = Reason::new(ReasonCode::Granted, "Signed in.");
        let actor = actor_of(&session, visitor);
        if let Err(away) = self
            .diary
            .note("session.start", actor, Outcome::Allowed, &reason, visitor)
            .await
        {
            self.sessions.revoke(&session.id).await?;
            return Err(away.into());
        }
        self.metrics
            .login(&session.identity.provider, Outcome::Allowed.as_str());
        Ok(SignedIn {
            cookie,
            session,
            return_to,
        })
    }

    /// Ends the session behind a cookie; where the provider wants the browser to end its own, says how.
    ///
    /// # Errors
    /// When the store or the trail cannot be reached.
    pub async fn logout(&self, visitor: Visitor<'_>) -> Result<Option<Onward>, NotSignedIn> {
        let Some(cookie) = visitor.session else { return Ok(None) };
        let Some(session) = self.end(cookie, SIGNED_OUT, visitor).await? else {
            return Ok(None);
        };
        let Some(Provider {
            way: Way::Redirect(way),
            ..
        }) = self.provider(&session.identity.provider)
        else {
            return Ok(None);
        };
        Ok(way
            .logout(
                session.provider_state.as_deref(),
                &format!("{}/auth/signed-out", self.site),
            )
            .await)
    }

    async fn end(&self, cookie: &str, why: &str, visitor: Visitor<'_>) -> Result<Option<Session>, NotSignedIn> {
        let Some(session) = self.sessions.close(cookie).await? else {
            return Ok(None);
        };
        self.note_end(&session, why, visitor).await?;
        Ok(Some(session))
    }

    async fn note_end(&self, session: &Session, why: &str, visitor: Visitor<'_>) -> Result<(), TrailAway> {
        let reason = Reason::new(ReasonCode::Requested, why);
        self.diary
            .note(
                "session.end",
                actor_of(session, visitor),
                Outcome::Allowed,
                &reason,
                visitor,
            )
            .await
    }

    /// Records a failure and says what the person may know of it.
    async fn refuse(
        &self,
        provider: &str,
        user: Option<String>,
        error: ProviderError,
        visitor: Visitor<'_>,
    ) -> NotSignedIn {
        tracing::warn!(request_id = visitor.request_id, provider, %error, "sign-in refused");
        let (code, outcome, told) = judge(&error);
        let reason = Reason::new(code, error.to_string());
        self.note_refusal(provider, user, outcome, &reason, visitor)
            .await
            .map_or_else(NotSignedIn::from, |()| told)
    }

    async fn slow_down(
        &self,
        provider: &str,
        user: Option<String>,
        throttled: Throttled,
        visitor: Visitor<'_>,
    ) -> NotSignedIn {
        let wait = match throttled {
            Throttled::Wait(wait) => wait,
            Throttled::StoreAway(error) => return error.into(),
        };
        let reason = Reason::new(ReasonCode::RateLimited, "Too many sign-in attempts.");
        let noted = self
            .note_refusal(provider, user, Outcome::Refused, &reason, visitor)
            .await;
        noted.map_or_else(NotSignedIn::from, |()| NotSignedIn::TooManyAttempts(wait))
    }

    async fn note_refusal(
        &self,
        provider: &str,
        user: Option<String>,
        outcome: Outcome,
        reason: &Reason,
        visitor: Visitor<'_>,
    ) -> Result<(), TrailAway> {
        let actor = stranger(provider, user, visitor);
        self.metrics.login(provider, outcome.as_str());
        self.diary.note("login.refused", actor, outcome, reason, visitor).await
    }
}

impl Login {
    /// Records that a page of the gateway's own refused. A trail that is away keeps no refusal from being one.
    pub async fn note_refused_page(
        &self,
        session: Option<&Session>,
        http: Http,
        reason: &Reason,
        visitor: Visitor<'_>,
    ) {
        let actor = session.map_or_else(
            || Actor {
                address: Some(visitor.address.to_string()),
                ..Actor::default()
            },
            |session| actor_of(session, visitor),
        );
        let (action, outcome) = ("request.refused", Outcome::Refused);
        let _ = self
            .diary
            .write(action, actor, outcome, reason, visitor, Some(http))
            .await;
    }
}

/// Who tried something at a provider, and is nobody yet.
fn stranger(provider: &str, user: Option<String>, visitor: Visitor<'_>) -> Actor {
    Actor {
        provider: Some(provider.to_owned()),
        user,
        address: Some(visitor.address.to_string()),
        ..Actor::default()
    }
}

/// What a provider's failure is in the trail, and what the person may know of it.
fn judge(error: &ProviderError) -> (ReasonCode, Outcome, NotSignedIn) {
    match error {
        ProviderError::BadPassword => (ReasonCode::BadPassword, Outcome::Refused, NotSignedIn::BadPassword),
        ProviderError::AccountRefused(text) => {
            let reason = Reason::new(
                ReasonCode::AccountRefused,
                format!("This account may not come in: {text}."),
            );
            (
                ReasonCode::AccountRefused,
                Outcome::Refused,
                NotSignedIn::Refused(reason),
            )
        }
        ProviderError::Refused(_) => {
            // The person can do nothing with the cause, and an attacker could.
            let text = "The sign-in service's answer did not pass the gateway's checks.";
            let reason = Reason::new(ReasonCode::ProviderRefused, text);
            (
                ReasonCode::ProviderRefused,
                Outcome::Refused,
                NotSignedIn::Refused(reason),
            )
        }
        ProviderError::BadAttempt(_) => (ReasonCode::Malformed, Outcome::Refused, NotSignedIn::StaleAttempt),
        ProviderError::Unavailable(_) => (ReasonCode::Unavailable, Outcome::Failed, NotSignedIn::ProviderAway),
    }
}
