//! The other door: the same decision for an ingress that carries the request itself, and what it may tell MLflow.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::domain::Reason;
use crate::mlflow;
use crate::policy::Permit;

use super::forward::closed;
use super::headers::{encoded, encoded_list};
use super::identify::goes_to_vendors;
use super::incoming::Incoming;
use super::introduce::{IDENTITY, Introduction};
use super::record::Record;
use super::{Gate, Halted, Stopped, Upstream};
use crate::mlflow::Source as _;

/// Ingresses that may ask at the same time. One more is told so at once: its own limit is short, and a queue would miss it.
pub(super) const AT_ONCE: usize = 512;
/// A decision that takes longer comes too late for most ingresses.
const TIME: Duration = Duration::from_secs(5);
/// What identity headers may take: ingress-nginx reads the whole head into 4 KiB.
const HEAD: usize = 3584;
/// What is left of long lists, where all of it would not fit. Bytes.
const GROUPS: usize = 400;
const ROLES: usize = 300;

/// A request that its ingress may carry out.
#[derive(Clone, Debug)]
pub struct Granted {
    /// Every identity header, empty where there is nothing to tell: what the client sent under these names must not pass.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Gate {
    /// Identify, resolve, authorize, record: all but forwarding.
    ///
    /// # Errors
    /// Why it is refused; whoever answers closes the record that comes with it.
    pub async fn decide(&self, mut incoming: Incoming) -> Result<Granted, Halted> {
        let mut record = self.trail.begin(&incoming);
        let Ok(_place) = self.checks.try_acquire() else {
            return Err(Halted {
                stopped: Stopped::Busy,
                record,
            });
        };
        let decided = tokio::time::timeout(TIME, self.permit_told(&mut incoming, &mut record)).await;
        match decided.unwrap_or(Err(Stopped::Busy)) {
            Ok((headers, reason)) => {
                record.answered(200, 0);
                closed(record, reason).await?;
                Ok(Granted { headers })
            }
            Err(stopped) => Err(Halted { stopped, record }),
        }
    }

    async fn permit_told(
        &self,
        incoming: &mut Incoming,
        record: &mut Record,
    ) -> Result<(Vec<(HeaderName, HeaderValue)>, Reason), Stopped> {
        let (upstream, permit, introduction) = self.check(incoming, record).await?;
        // The assertion that goes out with this answer names somebody whom MLflow must know by then.
        self.keep_account(upstream, &permit).await?;
        let headers = self.told_to_mlflow(upstream, &permit, introduction.as_deref(), incoming)?;
        Ok((headers, permit.into_parts().3))
    }

    /// The identity headers and the assertion. None of them on the way to model vendors.
    fn told_to_mlflow(
        &self,
        upstream: &Upstream,
        permit: &Permit<mlflow::Request>,
        introduction: Option<&Introduction>,
        incoming: &Incoming,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Stopped> {
        let none = HeaderMap::new();
        let full = introduction
            .filter(|_| !goes_to_vendors(incoming.path()))
            .map_or(&none, |introduction| &introduction.headers);
        let headers = of(full);
        if size(&headers) <= HEAD {
            return Ok(headers);
        }
        let Some(caller) = permit.caller() else {
            return Ok(headers);
        };
        let mut identity = (*caller.identity).clone();
        let mut roles = permit.roles().names();
        keep(&mut identity.groups, GROUPS);
        keep(&mut roles, ROLES);
        let assertion = self
            .assertions
            .sign(&identity, &roles, &upstream.name, self.trail.clock.now());
        let values = [
            encoded(&identity.user),
            encoded(identity.email.as_deref().unwrap_or_default()),
            encoded_list(identity.groups.iter().map(String::as_str)),
            encoded_list(roles.iter().map(String::as_str)),
            assertion,
        ];
        let mut short = HeaderMap::new();
        for (name, value) in IDENTITY.into_iter().zip(values) {
            if let Ok(value) = HeaderValue::try_from(value) {
                short.insert(HeaderName::from_static(name), value);
            }
        }
        let headers = of(&short);
        if size(&headers) <= HEAD {
            tracing::info!(
                user = identity.user,
                "an ingress is told of some groups and roles alone: all would not fit"
            );
            return Ok(headers);
        }
        tracing::warn!(user = identity.user, "a name is longer than an ingress takes");
        Err(Stopped::Malformed(
            "Who is asking does not fit into a header.".to_owned(),
        ))
    }
}

/// Each identity header; empty where there is none.
fn of(full: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    IDENTITY
        .into_iter()
        .map(|name| {
            let value = full.get(name).cloned().unwrap_or(HeaderValue::from_static(""));
            (HeaderName::from_static(name), value)
        })
        .collect()
}

fn size(headers: &[(HeaderName, HeaderValue)]) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum()
}

/// The first names, as many as fit.
fn keep(names: &mut Vec<String>, room: usize) {
    let mut left = room;
    let fitting = names
        .iter()
        .take_while(|name| {
            let length = encoded(name).len() + 1;
            let fits = length <= left;
            left = left.saturating_sub(length);
            fits
        })
        .count();
    names.truncate(fitting);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_after_a_whole_name() {
        let mut names: Vec<String> = ["ab", "c,d", "ef"].map(str::to_owned).into();
        keep(&mut names, 9);
        assert_eq!(names, ["ab", "c,d"], "a comma is three letters there");
        keep(&mut names, 0);
        assert!(names.is_empty());
    }

    #[test]
    fn every_identity_header_is_there_and_no_other() {
        let mut full = HeaderMap::new();
        full.insert("x-forwarded-user", HeaderValue::from_static("ada"));
        full.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
        let told = of(&full);
        assert_eq!(told.len(), 5);
        assert_eq!(told[0].1, "ada");
        assert!(told[1..].iter().all(|(_, value)| value.is_empty()));
    }
}
