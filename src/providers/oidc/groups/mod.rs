//! Groups that no token tells: asked of Google's APIs, or of Microsoft Graph where there are too many for a token.

mod api;
mod google;
mod graph;
mod service_account;

use std::time::Duration;

use url::Url;

use super::super::ProviderError;
use super::claims::{LONGEST_GROUP, MOST_GROUPS};

pub(super) use google::Google;
pub(super) use graph::{Graph, is_entra};

/// For all questions about one person together.
const TIME: Duration = Duration::from_secs(10);
/// Of one list.
const MOST_PAGES: usize = 20;

/// Where the APIs are that tell groups. The defaults are the only ones that a configuration can have.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub google_token: Option<Url>,
    pub cloud_identity: Option<Url>,
    pub directory: Option<Url>,
    /// By the issuer where none is given, for each national cloud has its own.
    pub graph: Option<Url>,
}

/// Names of groups, within the bounds that hold for those in tokens too: too many are refused, not cut.
#[derive(Default)]
struct Found(indexmap::IndexSet<String>);

impl Found {
    /// Whether it is new.
    fn add(&mut self, name: &str) -> Result<bool, ProviderError> {
        if name.is_empty() || name.len() > LONGEST_GROUP {
            return Err(ProviderError::AccountRefused(
                "a group's name is empty or too long".to_owned(),
            ));
        }
        let new = self.0.insert(name.to_owned());
        if self.0.len() > MOST_GROUPS {
            return Err(ProviderError::AccountRefused(
                "the account is in too many groups".to_owned(),
            ));
        }
        Ok(new)
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    match tokio::time::timeout(TIME, work).await {
        Ok(answer) => answer,
        Err(_) => Err(ProviderError::Unavailable(
            "the groups were not all told in time".to_owned(),
        )),
    }
}
