//! The headers that tell MLflow who is asking, made once per credential and kept for half of the assertion's life.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use quick_cache::sync::Cache;

use crate::domain::{Caller, Identity, Timestamp};
use crate::policy::Roles;

use super::assertion::Assertions;
use super::headers::{encoded, encoded_list};

/// Half of what an assertion lives, so that MLflow always gets one that holds 30 s more.
const KEPT: Duration = Duration::from_secs(30);

/// Credentials remembered per upstream.
const COUNT: usize = 10_000;

/// Of one upstream under one configuration: the roles of an identity do not change in it.
pub(super) struct Introductions(Cache<String, Arc<Introduction>>);

pub(super) struct Introduction {
    identity: Arc<Identity>,
    made: Timestamp,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Introductions {
    pub(super) fn new() -> Self {
        Self(Cache::new(COUNT))
    }

    pub(super) fn of(
        &self,
        caller: Option<&Caller>,
        roles: &Roles,
        upstream: &str,
        now: Timestamp,
        assertions: &Assertions,
    ) -> Arc<Introduction> {
        let Some(caller) = caller else {
            return Arc::new(Introduction::of_nobody());
        };
        let Some(credential) = &caller.credential else {
            return Arc::new(Introduction::make(caller, roles, upstream, now, assertions));
        };
        if let Some(kept) = self.0.get(credential.as_str())
            && kept.holds_for(caller, now)
        {
            return kept;
        }
        let made = Arc::new(Introduction::make(caller, roles, upstream, now, assertions));
        self.0.insert(credential.clone(), made.clone());
        made
    }
}

impl Introduction {
    fn of_nobody() -> Self {
        let identity = Identity {
            provider: String::new(),
            subject: String::new(),
            user: String::new(),
            display_name: None,
            email: None,
            groups: Vec::new(),
            authenticated_at: Timestamp::from_micros(0),
        };
        Self {
            headers: named(&identity, &[]),
            identity: Arc::new(identity),
            made: Timestamp::from_micros(0),
        }
    }

    fn make(caller: &Caller, roles: &Roles, upstream: &str, now: Timestamp, assertions: &Assertions) -> Self {
        let roles = roles.names();
        let mut headers = named(&caller.identity, &roles);
        if let Ok(value) = HeaderValue::try_from(assertions.sign(&caller.identity, &roles, upstream, now)) {
            headers.push((HeaderName::from_static("x-mlgate-assertion"), value));
        }
        Self {
            identity: caller.identity.clone(),
            made: now,
            headers,
        }
    }

    fn holds_for(&self, caller: &Caller, now: Timestamp) -> bool {
        let is_young = now >= self.made && now.since(self.made) < KEPT;
        is_young && (Arc::ptr_eq(&self.identity, &caller.identity) || self.identity == caller.identity)
    }

    pub(super) fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
    }
}

fn named(identity: &Identity, roles: &[String]) -> Vec<(HeaderName, HeaderValue)> {
    let values = [
        ("x-forwarded-user", encoded(&identity.user)),
        (
            "x-forwarded-email",
            encoded(identity.email.as_deref().unwrap_or_default()),
        ),
        (
            "x-forwarded-groups",
            encoded_list(identity.groups.iter().map(String::as_str)),
        ),
        ("x-mlgate-roles", encoded_list(roles.iter().map(String::as_str))),
    ];
    values
        .into_iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("")),
            )
        })
        .collect()
}
