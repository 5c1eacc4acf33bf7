//! Groups of a Google account: Cloud Identity tells all of them at once, the Directory API one step at a time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use url::Url;

use super::super::super::ProviderError;
use super::api::{Api, Failed};
use super::service_account::ServiceAccount;
use super::{Found, MOST_PAGES, Places, in_time};
use crate::config::{GoogleApi, GoogleGroups};
use crate::domain::{Clock, Timestamp};
use crate::outbound::provider::ProviderClient;

const TOKEN: &str = "https://oauth2.googleapis.com/token";
const CLOUD_IDENTITY: &str = "https://cloudidentity.googleapis.com/";
const DIRECTORY: &str = "https://admin.googleapis.com/";
const CLOUD_IDENTITY_SCOPE: &str = "https://www.googleapis.com/auth/cloud-identity.groups.readonly";
const DIRECTORY_SCOPE: &str = "https://www.googleapis.com/auth/admin.directory.group.readonly";
/// Of Cloud Identity and of the Directory, which gives no more.
const PAGE: &str = "200";
/// Groups in groups, at most this deep.
const DEEPEST: usize = 32;
/// Questions to the Directory at one time.
const AT_ONCE: usize = 8;
/// After a failure nobody asks again about the same person for this long.
const FAILURE_PAUSE: Duration = Duration::from_secs(2);
/// People whose groups are kept.
const KEPT: usize = 4096;

pub(in super::super) struct Google {
    settings: GoogleGroups,
    account: ServiceAccount,
    cloud_identity: (Url, Api),
    directory: (Url, Api),
    clock: Arc<dyn Clock>,
    /// How long an answer serves for other sessions of the same person.
    keep: Duration,
    people: Cache<String, Arc<Person>>,
}

/// What was told last of one person. Held while asking: one question at a time.
type Person = Mutex<Option<Told>>;

struct Told {
    at: Timestamp,
    /// Or why nothing was told.
    groups: Result<Vec<String>, String>,
}

/// Which groups of a person.
#[derive(Clone, Copy)]
enum Reach {
    Transitive,
    Direct,
}

impl Google {
    pub(in super::super) fn new(
        settings: GoogleGroups,
        places: &Places,
        http: &Arc<ProviderClient>,
        clock: &Arc<dyn Clock>,
        keep: Duration,
    ) -> Result<Self, String> {
        let place = |given: &Option<Url>, fixed: &str| match given {
            Some(url) => Ok(url.clone()),
            None => Url::parse(fixed).map_err(|error| error.to_string()),
        };
        let api = |name| Api::new(name, http.clone(), clock.clone());
        Ok(Self {
            account: ServiceAccount::new(
                settings.account.clone(),
                place(&places.google_token, TOKEN)?,
                api("Google's token endpoint"),
                clock.clone(),
            ),
            cloud_identity: (place(&places.cloud_identity, CLOUD_IDENTITY)?, api("Cloud Identity")),
            directory: (place(&places.directory, DIRECTORY)?, api("Google's Directory API")),
            settings,
            clock: clock.clone(),
            keep,
            people: Cache::new(KEPT),
        })
    }

    /// All groups of the account with this address, by their own addresses in lower case.
    pub(in super::super) async fn groups(&self, address: &str) -> Result<Vec<String>, ProviderError> {
        let person = self
            .people
            .get_or_insert_with(address, || Ok::<_, ProviderError>(Arc::default()))?;
        let mut last = person.lock().await;
        let now = self.clock.now();
        if let Some(Told { at, groups }) = &*last {
            let serves = if groups.is_ok() { self.keep } else { FAILURE_PAUSE };
            if now.since(*at) < serves {
                return groups.clone().map_err(ProviderError::Unavailable);
            }
        }
        let answer = in_time(self.ask(address)).await;
        *last = match &answer {
            Ok(groups) => Some(Told {
                at: now,
                groups: Ok(groups.clone()),
            }),
            Err(ProviderError::Unavailable(text)) => Some(Told {
                at: self.clock.now(),
                groups: Err(text.clone()),
            }),
            Err(_) => None,
        };
        answer
    }

    /// Whether the service account gets its tokens; for `check --connect`.
    pub(in super::super) async fn probe(&self) -> Result<(), ProviderError> {
        let (scope, admin) = match self.settings.api {
            GoogleApi::CloudIdentity => (CLOUD_IDENTITY_SCOPE, None),
            GoogleApi::Directory => (DIRECTORY_SCOPE, self.settings.admin.as_deref()),
        };
        self.account.token(scope, admin).await.map(drop).map_err(give_up)
    }

    async fn ask(&self, address: &str) -> Result<Vec<String>, ProviderError> {
        match self.settings.api {
            GoogleApi::CloudIdentity => match self.memberships(address, Reach::Transitive).await {
                Err(Failed::Denied(why)) => self.without_transitive(address, &why).await,
                answer => answer.map_err(give_up),
            },
            GoogleApi::Directory => self.walk(address).await,
        }
    }

    /// Cloud Identity says 403 for editions of Workspace that cannot search so, and for people in a group that it may not see.
    async fn without_transitive(&self, address: &str, why: &str) -> Result<Vec<String>, ProviderError> {
        if self.settings.admin.is_some() {
            tracing::debug!(why, "groups of groups are asked of the Directory API");
            return self.walk(address).await;
        }
        let groups = self.memberships(address, Reach::Direct).await.map_err(give_up)?;
        tracing::warn!(
            why,
            "groups of groups cannot be searched with this edition or these rights: only direct groups count; set google_admin \
             to have the Directory API asked for the others"
        );
        Ok(groups)
    }

    // === Cloud Identity ===

    async fn memberships(&self, address: &str, reach: Reach) -> Result<Vec<String>, Failed> {
        let (base, api) = &self.cloud_identity;
        let method = match reach {
            Reach::Transitive => "searchTransitiveGroups",
            Reach::Direct => "searchDirectGroups",
        };
        let mut url = join(base, &format!("v1/groups/-/memberships:{method}"))?;
        let mut query = format!(
            "member_key_id == '{}' && 'cloudidentity.googleapis.com/groups.discussion_forum' in labels",
            quoted(address)
        );
        if let Some(customer) = &self.settings.customer {
            query += &format!(" && parent == 'customers/{customer}'");
        }
        url.query_pairs_mut()
            .append_pair("query", &query)
            .append_pair("pageSize", PAGE);
        let mut found = Found::default();
        self.pages(api, &url, CLOUD_IDENTITY_SCOPE, None, |page| {
            for membership in list(page, "memberships") {
                let id = membership.get("groupKey").and_then(|key| key.get("id")?.as_str());
                found.add(&id.unwrap_or_default().to_ascii_lowercase())?;
            }
            Ok(())
        })
        .await?;
        Ok(found.0.into_iter().collect())
    }

    // === Directory ===

    /// Groups, and the groups that these are in, until there are no new ones. Circles end.
    async fn walk(&self, address: &str) -> Result<Vec<String>, ProviderError> {
        let mut found = Found::default();
        let mut level = match self.groups_with(address).await {
            Err(Failed::NotFound) => {
                return Err(ProviderError::AccountRefused(
                    "Google's directory does not know the account".to_owned(),
                ));
            }
            answer => answer.map_err(give_up)?,
        };
        for _ in 0..DEEPEST {
            let mut new = Vec::new();
            for group in level {
                if found.add(&group)? {
                    new.push(group);
                }
            }
            if new.is_empty() {
                return Ok(found.0.into_iter().collect());
            }
            level = Vec::new();
            for some in new.chunks(AT_ONCE) {
                let asked: Vec<_> = some.iter().map(|group| self.groups_with(group)).collect();
                for answer in join_all(asked).await {
                    match answer {
                        Ok(groups) => level.extend(groups),
                        // A group of another organisation: what it is in is not known here.
                        Err(Failed::NotFound) => {}
                        Err(failed) => return Err(give_up(failed)),
                    }
                }
            }
        }
        Err(ProviderError::AccountRefused(
            "the groups are nested too deep".to_owned(),
        ))
    }

    /// The groups that a person or a group is in itself.
    async fn groups_with(&self, member: &str) -> Result<Vec<String>, Failed> {
        let (base, api) = &self.directory;
        let mut url = join(base, "admin/directory/v1/groups")?;
        url.query_pairs_mut()
            .append_pair("userKey", member)
            .append_pair("maxResults", PAGE);
        let mut found = Found::default();
        let admin = self.settings.admin.as_deref();
        self.pages(api, &url, DIRECTORY_SCOPE, admin, |page| {
            for group in list(page, "groups") {
                let email = group.get("email").and_then(Value::as_str).unwrap_or_default();
                found.add(&email.to_ascii_lowercase())?;
            }
            Ok(())
        })
        .await?;
        Ok(found.0.into_iter().collect())
    }

    /// Every page of a list; one that does not end is refused, for the group that is cut off may be the one that denies.
    async fn pages(
        &self,
        api: &Api,
        first: &Url,
        scope: &'static str,
        subject: Option<&str>,
        mut take: impl FnMut(&Map<String, Value>) -> Result<(), ProviderError>,
    ) -> Result<(), Failed> {
        let mut url = first.clone();
        for _ in 0..MOST_PAGES {
            let token = self.account.token(scope, subject).await?;
            let page = match api.get(&url, &token).await {
                Err(Failed::BadToken(why)) => {
                    self.account.forget().await;
                    return Err(Failed::BadToken(why));
                }
                answer => answer?,
            };
            take(&page)?;
            match page.get("nextPageToken").and_then(Value::as_str) {
                Some(next) if !next.is_empty() => {
                    url = first.clone();
                    url.query_pairs_mut().append_pair("pageToken", next);
                }
                _ => return Ok(()),
            }
        }
        Err(api.broken("tells groups without end"))
    }
}

fn list<'p>(page: &'p Map<String, Value>, name: &str) -> impl Iterator<Item = &'p Value> {
    page.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn join(base: &Url, path: &str) -> Result<Url, ProviderError> {
    base.join(path)
        .map_err(|error| ProviderError::Unavailable(format!("{path}: {error}")))
}

/// A text between single quotes of the query language.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

/// Groups that cannot be had are no groups that one can do without.
fn give_up(failed: Failed) -> ProviderError {
    match failed {
        Failed::BadToken(why) | Failed::Denied(why) => ProviderError::Unavailable(why),
        Failed::NotFound => ProviderError::Unavailable("Google does not know what was asked for".to_owned()),
        Failed::Other(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_cannot_leave_its_quotes() {
        assert_eq!(quoted("o'brien@example.com"), "o\\'brien@example.com");
        assert_eq!(quoted("\\' || true || '"), "\\\\\\' || true || \\'");
    }
}
