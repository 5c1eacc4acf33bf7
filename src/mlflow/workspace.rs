//! MLflow's workspaces: one header scopes all that a request finds, so what was looked up in one says nothing of another.

use std::sync::Arc;

use http::HeaderValue;
use quick_cache::sync::Cache;

use super::MlflowError;
use super::lookup::Lookup;
use crate::domain::Clock;
use crate::outbound::UpstreamClient;

pub(super) const HEADER: &str = "x-mlflow-workspace";

/// The workspace of requests that name none; MLflow's own word for it.
const DEFAULT: &str = "default";

/// Workspaces whose look-ups are remembered.
const REMEMBERED: usize = 200;

/// The look-ups of one upstream, workspace by workspace.
pub(super) struct Lookups {
    client: Arc<UpstreamClient>,
    clock: Arc<dyn Clock>,
    default: Arc<Lookup>,
    named: Cache<String, Arc<Lookup>>,
}

impl Lookups {
    pub(super) fn new(client: Arc<UpstreamClient>, clock: Arc<dyn Clock>) -> Self {
        Self {
            default: Arc::new(Lookup::new(client.clone(), clock.clone())),
            named: Cache::new(REMEMBERED),
            client,
            clock,
        }
    }

    pub(super) fn of(&self, workspace: Option<&str>) -> Arc<Lookup> {
        let Some(name) = workspace.filter(|name| *name != DEFAULT) else {
            return self.default.clone();
        };
        if let Some(known) = self.named.get(name) {
            return known;
        }
        let client = Arc::new(within(&self.client, name));
        let made = Arc::new(Lookup::new(client, self.clock.clone()).within(name));
        // Two at once: the later one stays, and the other's answers are asked for again.
        self.named.insert(name.to_owned(), made.clone());
        made
    }
}

/// The client that speaks within a workspace. Its name is one that `named` let through, which can be a header.
pub(super) fn within(client: &UpstreamClient, workspace: &str) -> UpstreamClient {
    let value = HeaderValue::from_str(workspace).unwrap_or(HeaderValue::from_static(""));
    client.within(value)
}

/// The workspace that a header names; `None` for an empty one, which MLflow takes for none.
///
/// # Errors
/// `Malformed` for what is no name (`mlflow/store/workspace/abstract_store.py`).
pub(super) fn named(header: Option<String>) -> Result<Option<String>, MlflowError> {
    let Some(name) = header.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_name = (2..=63).contains(&name.len())
        && name.bytes().all(|byte| plain(byte) || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if is_name {
        Ok(Some(name))
    } else {
        Err(MlflowError::Malformed(format!("{HEADER} names no workspace.")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_has_a_plain_name() {
        let read = |name: &str| named(Some(name.to_owned()));
        for name in ["default", "team-a", "a1"] {
            assert_eq!(read(name).unwrap().as_deref(), Some(name));
        }
        assert_eq!(read("").unwrap(), None);
        assert_eq!(named(None).unwrap(), None);
        for name in [
            "A",
            "team_a",
            "Team-A",
            "-a",
            "a-",
            " a",
            "a/b",
            "..",
            "t\u{e9}am",
            &"a".repeat(64),
        ] {
            assert!(read(name).is_err(), "{name:?}");
        }
    }
}
