//! Programs that show a JWT of an issuer that the operator trusts: CI jobs, pods, service accounts.

mod keys;
mod rule;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use quick_cache::sync::Cache;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::jws::{Claims, Jws, LONGEST, SKEW, Unsigned, must_be_of_now};
use super::{PasswordProvider, ProviderError, Vouched};
use crate::config::TrustedIssuer;
use crate::domain::{Clock, Identity, KeySet, Secret, Timestamp};
use crate::outbound::provider::Bounds;

use keys::Keys;

pub use keys::KeyCache;

/// Tokens that were found good, so that a job's thousandth request costs a hash.
const REMEMBERED: usize = 4096;

/// All trusted issuers of one configuration.
pub struct Issuers {
    /// By the issuer's own name.
    issuers: HashMap<String, Vec<Trusted>>,
    remembered: Cache<[u8; 32], Arc<Remembered>>,
    clock: Arc<dyn Clock>,
}

struct Trusted {
    rule: TrustedIssuer,
    keys: Arc<Keys>,
}

/// Who shows a token, once it is believed.
#[derive(Clone, Debug)]
pub struct Workload {
    pub identity: Arc<Identity>,
    /// Names the token in the trail; reveals nothing of it.
    pub id: String,
    /// Nothing that comes of it may last longer.
    pub expires: Timestamp,
}

struct Remembered {
    workload: Workload,
    /// By which it was found good: with others it must be looked at anew.
    keys: Arc<KeySet>,
    rule: Arc<Keys>,
}

impl Issuers {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// When a CA file cannot be used.
    pub fn new(
        rules: &[TrustedIssuer],
        cache: &KeyCache,
        clock: &Arc<dyn Clock>,
        bounds: Bounds,
    ) -> Result<Self, String> {
        let mut issuers: HashMap<String, Vec<Trusted>> = HashMap::new();
        for rule in rules {
            let keys = Keys::new(rule, cache, clock, bounds).map_err(|text| format!("{}: {text}", rule.id))?;
            issuers.entry(rule.issuer.clone()).or_default().push(Trusted {
                rule: rule.clone(),
                keys: Arc::new(keys),
            });
        }
        cache.tidy();
        Ok(Self {
            issuers,
            remembered: Cache::new(REMEMBERED),
            clock: clock.clone(),
        })
    }

    /// Whether a text has the form of a JWT; costs next to nothing.
    pub fn looks_like_one(text: &str) -> bool {
        text.len() <= LONGEST && text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// Who shows this token. Nobody is asked anything unless its issuer is trusted and its key is new.
    ///
    /// # Errors
    /// `Refused` says what is wrong with it, and no value that is trusted here; `Unavailable` where the issuer's keys cannot be
    /// had.
    pub async fn identify(&self, token: &str) -> Result<Workload, ProviderError> {
        let now = self.clock.now();
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.remembered.get(&hash)
            && known.is_good(now).await
        {
            return Ok(known.workload.clone());
        }
        let token = Jws::parse(token).map_err(|unsigned| refused(&unsigned.to_string()))?;
        // An access token, a logout token and the like are signed by the same keys, and mean something else.
        if token.typ().is_some_and(|typ| typ != "jwt") {
            return Err(refused("is of another type (typ)"));
        }
        let rules = token
            .claimed_issuer()
            .and_then(|issuer| self.issuers.get(issuer))
            .ok_or_else(|| refused("is of no trusted issuer (iss)"))?;
        let mut why = None;
        for trusted in rules {
            match trusted.identify(&token, now).await {
                Ok((identity, expires, keys)) => {
                    let workload = Workload {
                        identity: Arc::new(identity),
                        id: hex::encode(&hash[..16]),
                        expires,
                    };
                    let remembered = Remembered {
                        workload: workload.clone(),
                        keys,
                        rule: trusted.keys.clone(),
                    };
                    self.remembered.insert(hash, Arc::new(remembered));
                    return Ok(workload);
                }
                // What went furthest says most.
                Err(error) => why = Some(error),
            }
        }
        Err(why.unwrap_or_else(|| refused("is of no trusted issuer (iss)")))
    }

    /// Likewise, with what a recheck of whatever comes of it will need.
    ///
    /// # Errors
    /// Like `identify`.
    pub async fn exchange(&self, token: &str) -> Result<(Workload, String), ProviderError> {
        let workload = self.identify(token).await?;
        // The very token that was found good.
        let claims = Jws::parse(token)
            .ok()
            .and_then(|token| serde_json::to_string(token.unverified()).ok())
            .ok_or_else(|| refused("is no signed token"))?;
        Ok((workload, claims))
    }

    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    fn rule(&self, id: &str) -> Option<&Trusted> {
        self.issuers.values().flatten().find(|trusted| trusted.rule.id == id)
    }

    /// Keeps the keys fresh; waits for nobody.
    pub fn refresh(&self) {
        for trusted in self.issuers.values().flatten() {
            trusted.keys.refresh();
        }
    }

    /// The issuers whose keys could not be had when they were last asked for, by id, with the cause.
    pub fn away(&self) -> Vec<(String, String)> {
        let all = self.issuers.values().flatten();
        let mut away: Vec<_> = all
            .filter_map(|trusted| Some((trusted.rule.id.clone(), trusted.keys.trouble()?)))
            .collect();
        away.sort();
        away
    }

    /// Whether the keys of each issuer can be had now; for `check --connect`. Gives those of which they cannot, with the cause.
    pub async fn probe(&self) -> Vec<(String, String)> {
        for trusted in self.issuers.values().flatten() {
            drop(trusted.keys.current().await);
        }
        self.away()
    }
}

impl Remembered {
    async fn is_good(&self, now: Timestamp) -> bool {
        let current = self.rule.current().await;
        let same = current.is_some_and(|keys| Arc::ptr_eq(&keys, &self.keys));
        same && now.seconds() - SKEW < self.workload.expires.seconds()
    }
}

impl Trusted {
    async fn identify(
        &self,
        token: &Jws<'_>,
        now: Timestamp,
    ) -> Result<(Identity, Timestamp, Arc<KeySet>), ProviderError> {
        let away = || ProviderError::Unavailable(format!("the keys of {} cannot be had", self.rule.id));
        let mut keys = self.keys.current().await.ok_or_else(away)?;
        let mut verdict = token.believe(&keys);
        if let Err(Unsigned::UnknownKey) = verdict
            && let Some(newer) = self.keys.newer(&keys).await
        {
            keys = newer;
            verdict = token.believe(&keys);
        }
        let claims = verdict.map_err(|unsigned| refused(&unsigned.to_string()))?;
        let (identity, expires) = self.vouch(claims, now).map_err(|text| {
            let whose = claims.get("sub").and_then(Value::as_str).unwrap_or("nobody");
            let whose: String = whose.chars().filter(|c| !c.is_control()).take(200).collect();
            refused(&format!("of {whose} {text}"))
        })?;
        Ok((identity, expires, keys))
    }

    /// Of claims that the issuer signed.
    fn vouch(&self, claims: &Claims, now: Timestamp) -> Result<(Identity, Timestamp), String> {
        must_be_of_now(claims, now.seconds())?;
        let time = |name: &str| {
            let seconds = claims.get(name).and_then(Value::as_f64).unwrap_or_default();
            Timestamp::from_seconds(seconds as i64)
        };
        Ok((self.identity(claims, time("iat"))?, time("exp")))
    }

    /// Who that is by this rule, whenever it was signed.
    fn identity(&self, claims: &Claims, authenticated_at: Timestamp) -> Result<Identity, String> {
        let for_us = match claims.get("aud") {
            Some(Value::String(audience)) => *audience == self.rule.audience,
            Some(Value::Array(audiences)) => audiences.iter().any(|audience| *audience == *self.rule.audience),
            _ => false,
        };
        if !for_us {
            return Err("is for somebody else (aud)".to_owned());
        }
        rule::must_fit(&self.rule, claims)?;
        let email = claims.get("email").and_then(Value::as_str);
        Ok(Identity {
            provider: self.rule.id.clone(),
            subject: rule::subject(claims)?.to_owned(),
            user: rule::user(&self.rule, claims)?,
            display_name: None,
            email: email.filter(|_| rule::is_verified(claims)).map(str::to_owned),
            groups: self.rule.groups.clone(),
            authenticated_at,
        })
    }
}

/// For what came of an exchange: asked again whether the rule, as it is now, still means that workload.
#[async_trait]
impl PasswordProvider for Issuers {
    async fn sign_in(&self, _: &str, _: &Secret) -> Result<Vouched, ProviderError> {
        Err(ProviderError::BadPassword)
    }

    fn canonical(&self, user: &str) -> String {
        user.to_owned()
    }

    async fn recheck(&self, identity: &Identity, state: Option<&str>) -> Result<Vouched, ProviderError> {
        let gone = |text: &str| ProviderError::AccountRefused(text.to_owned());
        let claims: Claims = state
            .and_then(|state| serde_json::from_str(state).ok())
            .ok_or_else(|| gone("a workload shows a token of its platform"))?;
        let trusted = self
            .rule(&identity.provider)
            .ok_or_else(|| gone("there is no such trusted issuer any more"))?;
        if claims.get("iss").and_then(Value::as_str) != Some(&trusted.rule.issuer) {
            return Err(gone("the trusted issuer is another one now"));
        }
        let now = trusted
            .identity(&claims, identity.authenticated_at)
            .map_err(|text| gone(&format!("the token {text}")))?;
        Ok(Vouched::new(now, state.map(str::to_owned)))
    }
}

fn refused(text: &str) -> ProviderError {
    ProviderError::Refused(format!("the token {text}"))
}
