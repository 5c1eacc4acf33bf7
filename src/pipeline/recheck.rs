//! Asks providers again whether people still are who they were: in the background while the answer is young enough, before
//! the request where it grew too old.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join_all};

use crate::audit::{Actor, Audit, Event, Outcome, Why};
use crate::domain::{Clock, Identity, Random, ReasonCode};
use crate::providers::{ProviderError, Vouched, Way};
use crate::sessions::{Session, Sessions};
use crate::telemetry::Metrics;
use crate::tokens::{Token, Tokens};

/// A request waits no longer than this for a provider.
const PATIENCE: Duration = Duration::from_secs(5);
/// After an attempt, the same session or token is left alone for so long.
const PAUSE: Duration = Duration::from_secs(2);

/// What rechecking works with.
pub struct Means {
    /// By the provider's id.
    pub ways: HashMap<String, Way>,
    pub sessions: Arc<Sessions>,
    pub tokens: Arc<Tokens>,
    pub audit: Arc<Audit>,
    pub metrics: Arc<Metrics>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

pub struct Rechecks {
    means: Arc<Means>,
    flights: Mutex<HashMap<String, Flight>>,
}

/// One recheck that is under way, or was just now.
struct Flight {
    started: Instant,
    landed: Shared<BoxFuture<'static, ()>>,
}

impl Rechecks {
    pub fn new(means: Means) -> Self {
        Self {
            means: Arc::new(means),
            flights: Mutex::default(),
        }
    }

    /// The providers that could not answer now, by id, with the cause.
    pub(super) async fn away(&self) -> Vec<(String, String)> {
        let asked = self.means.ways.iter().map(|(id, way)| async move {
            let error = way.health().await.err()?;
            Some((id.clone(), error.to_string()))
        });
        let mut away: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        away.sort();
        away
    }

    /// Starts a recheck where one is due.
    pub(super) async fn session(&self, session: &Session) -> Rechecked {
        if !self.means.sessions.due_for_recheck(session) {
            return Rechecked::Young;
        }
        let is_overdue = self.means.sessions.overdue_for_recheck(session);
        let way = self.means.ways.get(&session.identity.provider);
        if way.is_some_and(Way::rechecks_in_browser) {
            return if is_overdue {
                Rechecked::ByBrowser
            } else {
                Rechecked::Young
            };
        }
        let (means, id) = (self.means.clone(), session.id.clone());
        let landed = self.join(&session.id, async move { means.recheck_session(&id).await }.boxed());
        if !is_overdue {
            return Rechecked::Young;
        }
        wait(landed).await;
        Rechecked::Now
    }

    /// Likewise for a token.
    pub(super) async fn token(&self, token: &Token) -> Rechecked {
        if !self.means.tokens.due_for_recheck(token) {
            return Rechecked::Young;
        }
        let is_overdue = self.means.tokens.overdue_for_recheck(token);
        let way = self.means.ways.get(&token.identity.provider);
        if way.is_some_and(Way::rechecks_in_browser) {
            return if is_overdue {
                Rechecked::ByBrowser
            } else {
                Rechecked::Young
            };
        }
        let (means, id) = (self.means.clone(), token.id.clone());
        let landed = self.join(&token.id, async move { means.recheck_token(&id).await }.boxed());
        if !is_overdue {
            return Rechecked::Young;
        }
        wait(landed).await;
        Rechecked::Now
    }

    /// The flight of an id, a new one where there is none. It goes on when nobody waits any more.
    fn join(&self, id: &str, work: BoxFuture<'static, ()>) -> Shared<BoxFuture<'static, ()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(id)
            && (flight.landed.peek().is_none() || flight.started.elapsed() < PAUSE)
        {
            return flight.landed.clone();
        }
        flights.retain(|_, flight| flight.landed.peek().is_none() || flight.started.elapsed() < PAUSE);
        let landed = work.shared();
        flights.insert(
            id.to_owned(),
            Flight {
                started: Instant::now(),
                landed: landed.clone(),
            },
        );
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(landed.clone());
        }
        landed
    }
}

/// What became of a recheck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rechecked {
    /// What is known is young enough.
    Young,
    /// It was too late to go on with that: the provider was waited for, and the session or token must be looked up again.
    Now,
    /// It is too late, and nobody but the person's browser can ask.
    ByBrowser,
}

async fn wait(landed: Shared<BoxFuture<'static, ()>>) {
    // Who is too slow is asked on in the background.
    let _ = tokio::time::timeout(PATIENCE, landed).await;
}

impl Means {
    async fn recheck_session(&self, id: &str) {
        let claimed = match self.sessions.claim_recheck(id).await {
            Ok(Some(session)) => session,
            Ok(None) | Err(_) => return,
        };
        let done = match self.ask(&claimed.identity, claimed.provider_state.as_deref()).await {
            Answer::Still(vouched) => self
                .sessions
                .update(id, vouched.identity, vouched.state, vouched.until)
                .await
                .map(drop),
            Answer::NoMore(why) => {
                let ended = self.sessions.revoke(id).await.map(|ended| ended.is_some());
                if let Ok(true) = ended {
                    self.record("session.end", &claimed.identity, id, why).await;
                }
                ended.map(drop)
            }
            Answer::Unknown => Ok(()),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "a recheck could not be kept");
        }
    }

    async fn recheck_token(&self, id: &str) {
        let claimed = match self.tokens.claim_recheck(id).await {
            Ok(Some(token)) => token,
            Ok(None) | Err(_) => return,
        };
        let done = match self.ask(&claimed.identity, claimed.provider_state.as_deref()).await {
            Answer::Still(vouched) => self.tokens.update(id, vouched.identity, vouched.state).await.map(drop),
            Answer::NoMore(why) => {
                let ended = self.tokens.revoke(id).await.map(|ended| ended.is_some());
                if let Ok(true) = ended {
                    self.record("token.revoke", &claimed.identity, id, why).await;
                }
                ended.map(drop)
            }
            Answer::Unknown => Ok(()),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "a recheck could not be kept");
        }
    }

    async fn ask(&self, identity: &Identity, state: Option<&str>) -> Answer {
        let Some(way) = self.ways.get(&identity.provider) else {
            return Answer::NoMore("The provider is not configured any more.".to_owned());
        };
        let started = Instant::now();
        let answer = way.recheck(identity, state).await;
        self.metrics.provider(&identity.provider, started.elapsed());
        match answer {
            Ok(vouched) => Answer::Still(vouched),
            Err(error @ (ProviderError::AccountRefused(_) | ProviderError::BadPassword)) => {
                Answer::NoMore(error.to_string())
            }
            Err(error @ (ProviderError::Refused(_) | ProviderError::BadAttempt(_) | ProviderError::Unavailable(_))) => {
                tracing::warn!(provider = identity.provider, %error, "a recheck got no answer");
                Answer::Unknown
            }
        }
    }

    async fn record(&self, action: &str, identity: &Identity, credential: &str, why: String) {
        let id: [u8; 16] = self.random.bytes();
        let event = Event {
            time: self.clock.now(),
            id: hex::encode(id),
            request_id: None,
            actor: Actor {
                provider: Some(identity.provider.clone()),
                subject: Some(identity.subject.clone()),
                user: Some(identity.user.clone()),
                groups: identity.groups.clone(),
                session: Some(credential.to_owned()),
                ..Actor::default()
            }
            .into(),
            action: action.to_owned().into(),
            resources: Vec::new(),
            upstream: None,
            outcome: Outcome::Allowed,
            reason: Why {
                code: ReasonCode::AccountRefused.as_str().into(),
                text: why,
            },
            http: None,
        };
        if let Err(error) = self.audit.record(event).await {
            tracing::error!(%error, "an event is missing from the trail");
        }
    }
}

enum Answer {
    Still(Vouched),
    NoMore(String),
    /// Nobody could say.
    Unknown,
}
