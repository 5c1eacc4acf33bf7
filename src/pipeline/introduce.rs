//! Who is asking, in the words of the policy, of the trail and of the headers for MLflow: made once per credential and kept for
//! half of the assertion's life.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use crate::audit::{Actor, Author};
use crate::domain::{Caller, Identity, Timestamp, Via};
use crate::policy::{Policy, Standing};

use super::assertion::Assertions;
use super::headers::{encoded, encoded_list};

/// Half of what an assertion lives, so that MLflow always gets one that holds 30 s more.
const KEPT: Duration = Duration::from_secs(30);

/// Credentials remembered per upstream.
const COUNT: usize = 10_000;

/// Headers of a usual request, a browser's among them.
const ROOM: usize = 32;

/// Of one upstream under one configuration: the roles of an identity do not change in it.
pub(super) struct Introductions(Cache<Key, Arc<Introduction>>);

/// All that an introduction tells besides the identity; one token may be at work on many hosts, and shown in two ways.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    credential: String,
    via: Via,
    address: IpAddr,
}

/// Hashes like its `Key`.
#[derive(Hash)]
struct Asked<'a> {
    credential: &'a str,
    via: Via,
    address: IpAddr,
}

impl Equivalent<Key> for Asked<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.credential, self.via, self.address) == (key.credential.as_str(), key.via, key.address)
    }
}

/// What is the same in all requests of one credential, shown in one way from one address.
pub(super) struct Introduction {
    pub(super) standing: Standing,
    /// As the trail writes it.
    pub(super) author: Author,
    made: Timestamp,
    /// What MLflow is told of the caller: cloned, not made, for each request.
    pub(super) headers: HeaderMap,
}

/// What introductions are made with.
pub(super) struct Means<'a> {
    pub(super) policy: &'a Policy,
    pub(super) assertions: &'a Assertions,
    pub(super) upstream: &'a str,
    pub(super) now: Timestamp,
}

impl Introductions {
    pub(super) fn new() -> Self {
        Self(Cache::new(COUNT))
    }

    pub(super) fn of(&self, caller: &Caller, means: &Means<'_>) -> Arc<Introduction> {
        let Some(credential) = &caller.credential else {
            return Arc::new(Introduction::make(caller, means));
        };
        let (via, address) = (caller.via, caller.address);
        let asked = Asked {
            credential,
            via,
            address,
        };
        if let Some(kept) = self.0.get(&asked)
            && kept.holds_for(caller, means.now)
        {
            return kept;
        }
        let made = Arc::new(Introduction::make(caller, means));
        let key = Key {
            credential: credential.clone(),
            via,
            address,
        };
        self.0.insert(key, made.clone());
        made
    }
}

impl Introduction {
    fn make(caller: &Caller, means: &Means<'_>) -> Self {
        let standing = means.policy.standing(&caller.identity, means.upstream);
        let roles = standing.roles().names();
        let mut headers = HeaderMap::with_capacity(ROOM);
        headers.extend(named(&caller.identity, &roles));
        let assertion = means
            .assertions
            .sign(&caller.identity, &roles, means.upstream, means.now);
        if let Ok(value) = HeaderValue::try_from(assertion) {
            headers.insert(HeaderName::from_static(ASSERTION), value);
        }
        let address = caller.address.to_string();
        if let Ok(value) = HeaderValue::from_str(&address) {
            headers.insert(HeaderName::from_static("x-forwarded-for"), value);
        }
        let actor = Actor::of(caller, roles, Some(address));
        Self {
            author: Author::known(&actor).unwrap_or_else(|_| actor.into()),
            standing,
            made: means.now,
            headers,
        }
    }

    fn holds_for(&self, caller: &Caller, now: Timestamp) -> bool {
        let is_young = now >= self.made && now.since(self.made) < KEPT;
        is_young && self.standing.is_of(&caller.identity)
    }
}

/// What is open to everyone: every identity header is there, and empty.
pub(super) fn of_nobody(address: &str) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(ROOM);
    for name in NAMES {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(""));
    }
    if let Ok(value) = HeaderValue::from_str(address) {
        headers.insert(HeaderName::from_static("x-forwarded-for"), value);
    }
    headers
}

const NAMES: [&str; 4] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-mlgate-roles",
];

/// All that tells who is asking: what an ingress has to pass on, and to take off a client's request.
pub(super) const IDENTITY: [&str; 5] = [NAMES[0], NAMES[1], NAMES[2], NAMES[3], ASSERTION];

const ASSERTION: &str = "x-mlgate-assertion";

fn named(identity: &Identity, roles: &[String]) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let values = [
        encoded(&identity.user),
        encoded(identity.email.as_deref().unwrap_or_default()),
        encoded_list(identity.groups.iter().map(String::as_str)),
        encoded_list(roles.iter().map(String::as_str)),
    ];
    NAMES.into_iter().zip(values).map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("")),
        )
    })
}
