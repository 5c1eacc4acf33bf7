//! Sign-in by sending the browser to a provider and back; and, where only that can ask a provider again, the recheck.

use std::sync::Arc;
use std::time::Instant;

use crate::audit::Outcome;
use crate::config::Rate;
use crate::domain::{Reason, ReasonCode, Secret};
use crate::providers::{ProviderError, RedirectProvider, Vouched, Way};
use crate::sessions::Session;

use super::attempt::Attempt;
use super::diary::actor_of;
use super::{Begun, Login, NotSignedIn, Provider, ReturnTo, SignedIn, Visitor};

impl Login {
    /// `name` is who the person says to be, where they said so before.
    ///
    /// # Errors
    /// When there is no such provider, it or the store cannot be reached, or this address has begun too often and not come back.
    pub async fn begin(
        &self,
        provider: &str,
        name: Option<&str>,
        return_to: ReturnTo,
        visitor: Visitor<'_>,
    ) -> Result<Begun, NotSignedIn> {
        let provider = self.provider(provider).ok_or(NotSignedIn::UnknownProvider)?;
        let Way::Redirect(way) = &provider.way else {
            return Ok(Begun::Form);
        };
        // What is begun is kept, for whoever asks: nobody may fill the store.
        if let Err(throttled) = self.beginnings.admit_address(visitor.address).await {
            return Err(self.slow_down(&provider.id, None, throttled, visitor).await);
        }
        let callback = self.callback(&provider.id);
        let begun = match name {
            Some(name) => way.begin_as(&callback, name).await,
            None => way.begin(&callback).await,
        };
        let departure = match begun {
            Ok(departure) => departure,
            Err(error) => return Err(self.refuse(&provider.id, None, error, visitor).await),
        };
        let browser = visitor.browser.cloned().unwrap_or_else(|| self.new_browser());
        let attempt = Attempt {
            memory: departure.memory,
            return_to,
            renews: self.renewed_by(provider, visitor).await?,
        };
        self.attempts
            .keep(&provider.id, &browser, &departure.state, &attempt)
            .await?;
        Ok(Begun::Away {
            onward: departure.onward,
            browser,
        })
    }

    /// The browser is back from a provider; `query` is the callback's decoded parameters, in order, duplicates included.
    ///
    /// # Errors
    /// When the attempt is not this browser's, or the provider's answer does not hold.
    pub async fn complete(
        &self,
        provider: &str,
        query: &[(String, String)],
        visitor: Visitor<'_>,
    ) -> Result<SignedIn, NotSignedIn> {
        let (provider, way) = self.redirect(provider)?;
        let mut states = query.iter().filter(|(name, _)| name == "state");
        let attempt = match (states.next(), states.next(), visitor.browser) {
            (None, None, _) => None,
            (Some((_, state)), None, Some(browser)) => match self.attempts.take(&provider.id, browser, state).await? {
                Some(attempt) => Some(attempt),
                None => {
                    let error = ProviderError::BadAttempt("unknown, used or old state".to_owned());
                    return Err(self.refuse(&provider.id, None, error, visitor).await);
                }
            },
            _ => {
                let error = ProviderError::BadAttempt("several states, or no login cookie".to_owned());
                return Err(self.refuse(&provider.id, None, error, visitor).await);
            }
        };
        let started = Instant::now();
        let vouched = match &attempt {
            Some(attempt) => way.complete(&self.callback(&provider.id), &attempt.memory, query).await,
            None => way.unsolicited(query).await,
        };
        self.metrics.provider(&provider.id, started.elapsed());
        let (return_to, renews) = attempt.map_or_else(
            || (self.returns.choose(""), None),
            |attempt| (attempt.return_to, attempt.renews),
        );
        match vouched {
            Ok(vouched) => {
                self.beginnings.address_succeeded(visitor.address).await;
                if way.rechecks_in_browser() {
                    self.account.vouched_anew(&vouched.identity).await?;
                }
                match self.renew(renews.as_deref(), &vouched, visitor).await? {
                    Some((cookie, session)) => Ok(SignedIn {
                        cookie,
                        session,
                        return_to,
                    }),
                    None => self.open(vouched, return_to, visitor).await,
                }
            }
            Err(error) => Err(self.refuse(&provider.id, None, error, visitor).await),
        }
    }

    /// An answer that a provider's page posted here. Gives the path and query with which the browser comes to the callback,
    /// on this site and with its cookies.
    ///
    /// # Errors
    /// When the answer does not hold, or too many came from this address that did not.
    pub async fn receive(
        &self,
        provider: &str,
        form: &[(String, String)],
        visitor: Visitor<'_>,
    ) -> Result<String, NotSignedIn> {
        let (provider, way) = self.redirect(provider)?;
        if let Err(throttled) = self.throttle.admit_address(visitor.address).await {
            return Err(self.slow_down(&provider.id, None, throttled, visitor).await);
        }
        let received = way.receive(form).await;
        if !matches!(received, Err(ProviderError::Refused(_))) {
            self.throttle.address_succeeded(visitor.address).await;
        }
        match received {
            Ok(query) => Ok(format!("/auth/callback/{}?{query}", provider.id)),
            Err(error) => Err(self.refuse(&provider.id, None, error, visitor).await),
        }
    }

    pub(super) fn redirect(&self, provider: &str) -> Result<(&Provider, &Arc<dyn RedirectProvider>), NotSignedIn> {
        let provider = self.provider(provider).ok_or(NotSignedIn::UnknownProvider)?;
        match &provider.way {
            Way::Redirect(way) => Ok((provider, way)),
            Way::Password(_) => Err(NotSignedIn::UnknownProvider),
        }
    }

    /// The session for whose sake a browser is sent to its provider once more.
    async fn renewed_by(&self, provider: &Provider, visitor: Visitor<'_>) -> Result<Option<String>, NotSignedIn> {
        let Some(cookie) = visitor.session.filter(|_| provider.way.rechecks_in_browser()) else {
            return Ok(None);
        };
        let session =
            self.sessions.find(cookie).await?.filter(|session| {
                session.identity.provider == provider.id && self.sessions.overdue_for_recheck(session)
            });
        Ok(session.map(|session| session.id.clone()))
    }

    /// Goes on with a session whose person the provider vouched for again. Only with the very one that the browser came for, and
    /// still has, and only where it is theirs.
    async fn renew(
        &self,
        renews: Option<&str>,
        vouched: &Vouched,
        visitor: Visitor<'_>,
    ) -> Result<Option<(Secret, Arc<Session>)>, NotSignedIn> {
        let (Some(id), Some(cookie)) = (renews, visitor.session) else {
            return Ok(None);
        };
        let is_same = |session: &Arc<Session>| {
            let (theirs, ours) = (&session.identity, &vouched.identity);
            session.id == id && theirs.provider == ours.provider && theirs.subject == ours.subject
        };
        let Some(session) = self.sessions.find(cookie).await?.filter(is_same) else {
            return Ok(None);
        };
        let (identity, state) = (vouched.identity.clone(), vouched.state.clone());
        if !self.sessions.update(id, identity, state, vouched.until).await? {
            return Ok(None);
        }
        self.sessions.call(&session, &vouched.names).await?;
        let reason = Reason::new(ReasonCode::Granted, "The identity provider vouched again.");
        let actor = actor_of(&session, visitor);
        self.diary
            .note("session.renew", actor, Outcome::Allowed, &reason, visitor)
            .await?;
        Ok(Some((Secret::new(cookie), session)))
    }

    fn callback(&self, provider: &str) -> String {
        format!("{}/auth/callback/{provider}", self.site)
    }
}

/// How often one address may begin a sign-in elsewhere without coming back from it. More often than it may guess, for each page
/// that a browser opens begins one, and an office may have one address.
pub(super) fn beginnings(guesses: Rate) -> Rate {
    Rate {
        count: guesses.count.saturating_mul(30),
        per: guesses.per,
    }
}
