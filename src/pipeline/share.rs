//! Sharing: a request of the gateway's own to MLflow, for whoever may, by the same way as all others.

use crate::config::CLIENTS;
use crate::domain::{Caller, Reason};
use crate::mlflow::{MlflowError, OutgoingBody, Shared, Sharing, Source};

use super::forward::closed;
use super::incoming::{Incoming, name};
use super::record::Record;
use super::{Gate, Halted, Stopped};

/// MLflow's answer to a tag is an empty object.
const ANSWER_LIMIT: usize = 64 * 1024;

/// A group's name, with its provider's id. Bytes.
const GROUP: usize = 256;

impl Gate {
    /// Changes with whom an experiment is shared, or tells it.
    ///
    /// # Errors
    /// Why not; whoever answers closes the record that comes with it.
    pub async fn share(&self, mut incoming: Incoming, asked: Sharing) -> Result<Shared, Halted> {
        let mut record = self.trail.begin(&incoming);
        match Box::pin(self.carry_share(&mut incoming, asked, &mut record)).await {
            Ok((shared, reason)) => {
                record.answered(200, 0);
                closed(record, reason).await?;
                Ok(shared)
            }
            Err(stopped) => Err(Halted { stopped, record }),
        }
    }

    async fn carry_share(
        &self,
        incoming: &mut Incoming,
        mut asked: Sharing,
        record: &mut Record,
    ) -> Result<(Shared, Reason), Stopped> {
        let (upstream, caller, introduction) = self.who(incoming, record).await?;
        let (Some(caller), Some(introduction)) = (caller, introduction) else {
            return Err(Stopped::NotSignedIn);
        };
        asked.workspace = match incoming.header(name::X_MLFLOW_WORKSPACE.as_str()).as_slice() {
            [] => None,
            [value] => Some(String::from_utf8_lossy(value).into_owned()),
            _ => return Err(Stopped::Malformed("X-MLFLOW-WORKSPACE stands twice.".to_owned())),
        };
        if let Some((group, _)) = &mut asked.change {
            *group = self.qualified_group(group, &caller)?;
        }
        let changes = asked.change.is_some();
        let _turn = match changes {
            true => Some(upstream.shares.lock().await),
            false => None,
        };
        let (request, shared) = upstream.mlflow.sharing(&asked).await?;
        record.asks(&request);
        let permit = self.policy.authorize(Some((caller, &introduction.standing)), request)?;
        if changes {
            let request = permit.request();
            let (client, outgoing) = (upstream.mlflow.client_for(request), &request.outgoing);
            let body = match &outgoing.body {
                OutgoingBody::Bytes(body) => Some(body.clone()),
                OutgoingBody::Empty | OutgoingBody::Stream => None,
            };
            let (status, _) = client
                .fetch(outgoing.method.clone(), &outgoing.target, body, ANSWER_LIMIT)
                .await?;
            upstream.mlflow.carried_out(request);
            if !status.is_success() {
                let text = format!("it answered {} to a share", status.as_u16());
                return Err(MlflowError::Upstream(text).into());
            }
        }
        Ok((shared, permit.into_parts().3))
    }

    /// `provider:group`; a group without a provider is one of the caller's own.
    fn qualified_group(&self, group: &str, caller: &Caller) -> Result<String, Stopped> {
        let group = group.trim();
        let is_known = |provider: &str| {
            provider == CLIENTS
                || self.config.providers.iter().any(|known| known.id == provider)
                || self.config.trusted_issuers.iter().any(|known| known.id == provider)
        };
        let qualified = match group.split_once(':') {
            Some((provider, name)) if is_known(provider) && !name.is_empty() => group.to_owned(),
            _ => format!("{}:{group}", caller.identity.provider),
        };
        if group.is_empty() || qualified.len() > GROUP || qualified.chars().any(char::is_control) {
            return Err(Stopped::Malformed(
                "The group must be a group's name, or 'provider:group'.".to_owned(),
            ));
        }
        Ok(qualified)
    }
}
