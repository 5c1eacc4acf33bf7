//! The acts themselves, the same for the API and for the pages: each leaves an event in the trail.

use std::time::Duration;

use crate::audit::{Event, Http, Outcome, Touched, Why};
use crate::config::OnAuditFailure;
use crate::domain::{Identity, Reason, ReasonCode, Secret};
use crate::sessions::Session;
use crate::tokens::Token;

use super::{Acting, AdminError, AdminParts, NewToken, Whose};

impl AdminParts {
    pub(in crate::web) async fn sessions_of(&self, whose: &Whose) -> Result<Vec<Session>, AdminError> {
        let mut found = self.sessions.list(whose.exactly()).await?;
        found.retain(|session| whose.fits(&session.identity));
        Ok(found)
    }

    pub(in crate::web) async fn tokens_of(&self, whose: &Whose) -> Result<Vec<Token>, AdminError> {
        let mut found = self.tokens.list(whose.exactly()).await?;
        found.retain(|token| whose.fits(&token.identity));
        Ok(found)
    }

    pub(in crate::web) async fn end_session(&self, acting: &Acting, id: &str) -> Result<Session, AdminError> {
        let session = self.sessions.revoke(id).await?.ok_or(AdminError::Missing("session"))?;
        self.record(acting, "session.end", "session", &session.id, &session.identity)
            .await?;
        Ok(session)
    }

    pub(in crate::web) async fn end_sessions_of(
        &self,
        acting: &Acting,
        whose: &Whose,
    ) -> Result<Vec<Session>, AdminError> {
        let Some((provider, user)) = whose.exactly() else {
            return Err(AdminError::Malformed("name both the user and the provider".into()));
        };
        let ended = self.sessions.revoke_user(provider, user).await?;
        for session in &ended {
            self.record(acting, "session.end", "session", &session.id, &session.identity)
                .await?;
        }
        Ok(ended)
    }

    pub(in crate::web) async fn revoke_token(&self, acting: &Acting, id: &str) -> Result<Token, AdminError> {
        let token = self.tokens.revoke(id).await?.ok_or(AdminError::Missing("token"))?;
        self.record(acting, "token.revoke", "token", &token.id, &token.identity)
            .await?;
        Ok(token)
    }

    pub(in crate::web) async fn make_token(
        &self,
        acting: &Acting,
        wanted: &NewToken,
    ) -> Result<(Secret, Token), AdminError> {
        let lifetime = Duration::from_secs(wanted.lifetime_seconds);
        if lifetime > self.personal_max_lifetime {
            let most = self.personal_max_lifetime.as_secs();
            return Err(AdminError::Malformed(format!(
                "tokens live {most}s at most (tokens.personal_max_lifetime)"
            )));
        }
        let identity = self.directory.identity(&wanted.provider, &wanted.user).await?;
        let (secret, token) = self
            .tokens
            .create(identity, &wanted.name, lifetime, wanted.read_only)
            .await?;
        let recorded = self
            .record(acting, "token.issue", "token", &token.id, &token.identity)
            .await;
        if let Err(error) = recorded {
            // What the trail does not know of is not handed out.
            self.tokens.revoke(&token.id).await?;
            return Err(error);
        }
        Ok((secret, token))
    }

    async fn record(
        &self,
        acting: &Acting,
        action: &'static str,
        kind: &'static str,
        id: &str,
        owner: &Identity,
    ) -> Result<(), AdminError> {
        let reason = Reason::new(ReasonCode::Requested, "asked for by an operator");
        let touched = Touched {
            kind: kind.into(),
            id: Some(id.to_owned()),
            name: Some(owner.qualified_user()),
            permission: "MANAGE".into(),
        };
        self.note(Event {
            resources: vec![touched],
            ..self.event(acting, action, Outcome::Allowed, &reason)
        })
        .await
    }

    /// That somebody opened one of the operator's pages, or was kept from it.
    pub(in crate::web) async fn note_page(
        &self,
        acting: &Acting,
        (method, path): (&str, &str),
        request_id: &str,
        outcome: Outcome,
        reason: &Reason,
    ) -> Result<(), AdminError> {
        let touched = Touched {
            kind: "server".into(),
            id: None,
            name: Some("server".to_owned()),
            permission: "MANAGE".into(),
        };
        self.note(Event {
            request_id: Some(request_id.to_owned()),
            resources: vec![touched],
            http: Some(Http {
                method: method.to_owned(),
                path: path.to_owned(),
                status: if outcome == Outcome::Allowed { 200 } else { 403 },
                ..Http::default()
            }),
            ..self.event(acting, "admin.open", outcome, reason)
        })
        .await
    }

    fn event(&self, acting: &Acting, action: &'static str, outcome: Outcome, reason: &Reason) -> Event {
        Event {
            time: self.clock.now(),
            id: hex::encode(self.random.bytes::<16>()),
            request_id: None,
            actor: acting.0.clone().into(),
            action: action.into(),
            resources: Vec::new(),
            upstream: None,
            outcome,
            reason: Why::from(reason),
            http: None,
        }
    }

    async fn note(&self, event: Event) -> Result<(), AdminError> {
        let action = event.action.clone();
        match (self.audit.record(event).await, self.on_audit_failure) {
            (Err(error), OnAuditFailure::Refuse) => Err(error.into()),
            (Err(error), OnAuditFailure::Continue) => {
                tracing::error!(%error, %action, "an event is missing from the trail");
                Ok(())
            }
            (Ok(()), _) => Ok(()),
        }
    }
}
