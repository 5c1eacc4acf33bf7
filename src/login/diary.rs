//! The events of signing in and out, written where the trail is kept.

use std::sync::Arc;

use crate::audit::{Actor, Audit, Event, Http, Outcome, Why};
use crate::config::OnAuditFailure;
use crate::domain::{Caller, Clock, Random, Reason, Scope, Via};
use crate::sessions::Session;

use super::Visitor;

/// The trail cannot be written, and the operator wants nothing to happen without.
#[derive(Debug)]
pub struct TrailAway;

#[derive(Clone)]
pub(super) struct Diary {
    pub(super) audit: Arc<Audit>,
    pub(super) on_failure: OnAuditFailure,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
}

impl Diary {
    pub(super) async fn note(
        &self,
        action: &str,
        actor: Actor,
        outcome: Outcome,
        reason: &Reason,
        visitor: Visitor<'_>,
    ) -> Result<(), TrailAway> {
        self.write(action, actor, outcome, reason, visitor, None).await
    }

    pub(super) async fn write(
        &self,
        action: &str,
        actor: Actor,
        outcome: Outcome,
        reason: &Reason,
        visitor: Visitor<'_>,
        http: Option<Http>,
    ) -> Result<(), TrailAway> {
        let event = Event {
            time: self.clock.now(),
            id: hex::encode(self.random.bytes::<16>()),
            request_id: visitor.request_id.map(str::to_owned),
            actor: actor.into(),
            action: action.to_owned().into(),
            resources: Vec::new(),
            upstream: None,
            outcome,
            reason: Why::from(reason),
            http,
        };
        let Err(error) = self.audit.record(event).await else {
            return Ok(());
        };
        tracing::error!(%error, "audit");
        match self.on_failure {
            OnAuditFailure::Continue => Ok(()),
            OnAuditFailure::Refuse => Err(TrailAway),
        }
    }
}

/// Whoever holds a session, as the actor of an event.
pub(super) fn actor_of(session: &Session, visitor: Visitor<'_>) -> Actor {
    let caller = Caller {
        identity: session.identity.clone(),
        via: Via::Session,
        credential: Some(session.id.clone()),
        scope: Scope::default(),
        address: visitor.address,
    };
    let address = caller.address.to_string();
    Actor::of(&caller, Vec::new(), Some(address))
}
