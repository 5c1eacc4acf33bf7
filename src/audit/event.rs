//! The event, to the letter of the documented schema.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::{Caller, Permission, Reason, Resource, Timestamp};

use super::chain;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Allowed,
    Refused,
    Failed,
}

impl Outcome {
    /// As in the trail and on metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Who did it. `None` and empty lists are written too: every event has every key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Actor {
    pub provider: Option<String>,
    pub subject: Option<String>,
    pub user: Option<String>,
    pub groups: Vec<String>,
    pub roles: Vec<String>,
    pub via: Option<String>,
    pub session: Option<String>,
    pub address: Option<String>,
}

/// The actor of an event to be written: as it is, or written before, for one who acts often.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Author {
    New(Actor),
    Known(Arc<RawValue>),
}

impl From<Actor> for Author {
    fn from(actor: Actor) -> Self {
        Self::New(actor)
    }
}

impl Author {
    /// Written once, to be used again and again.
    ///
    /// # Errors
    /// None in practice: memory is written, and an actor has a JSON form.
    pub fn known(actor: &Actor) -> io::Result<Self> {
        let mut text = Vec::with_capacity(256);
        chain::write_json(actor, &mut text)?;
        let text = String::from_utf8(text).map_err(io::Error::other)?;
        Ok(Self::Known(RawValue::from_string(text)?.into()))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Touched {
    pub kind: Cow<'static, str>,
    pub id: Option<String>,
    pub name: Option<String>,
    pub permission: Cow<'static, str>,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Why {
    pub code: Cow<'static, str>,
    pub text: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct Http {
    pub method: String,
    /// Without the query: a query may hold what must not be written down.
    pub path: String,
    /// The endpoint by which an ingress asked; the gateway carried nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Cow<'static, str>>,
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration_ms: u64,
}

/// An event before the chain numbers and hashes it.
#[derive(Clone, Debug)]
pub struct Event {
    pub time: Timestamp,
    pub id: String,
    pub request_id: Option<String>,
    pub actor: Author,
    pub action: Cow<'static, str>,
    pub resources: Vec<Touched>,
    pub upstream: Option<Arc<str>>,
    pub outcome: Outcome,
    pub reason: Why,
    pub http: Option<Http>,
}

/// A line of the trail as it is read back. `v` is 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub v: u32,
    pub seq: u64,
    pub time: String,
    pub id: String,
    pub request_id: Option<String>,
    pub actor: Actor,
    pub action: String,
    pub resources: Vec<Touched>,
    pub upstream: Option<String>,
    pub outcome: Outcome,
    pub reason: Why,
    pub http: Option<Http>,
    pub prev: String,
    pub hash: String,
}

impl Actor {
    /// `address` is the caller's, as text.
    pub fn of(caller: &Caller, roles: Vec<String>, address: Option<String>) -> Self {
        let identity = &caller.identity;
        Self {
            provider: Some(identity.provider.clone()),
            subject: Some(identity.subject.clone()),
            user: Some(identity.user.clone()),
            groups: identity.groups.clone(),
            roles,
            via: Some(caller.via.as_str().to_owned()),
            session: caller.credential.clone(),
            address,
        }
    }
}

impl Touched {
    pub fn of(permission: Permission, resource: &Resource) -> Self {
        Self {
            kind: resource.kind.as_str().into(),
            id: resource.id().map(str::to_owned),
            name: resource.name().map(str::to_owned),
            permission: permission.as_str().into(),
        }
    }
}

impl From<&Reason> for Why {
    fn from(reason: &Reason) -> Self {
        Self {
            code: reason.code.as_str().into(),
            text: reason.text.clone(),
        }
    }
}
