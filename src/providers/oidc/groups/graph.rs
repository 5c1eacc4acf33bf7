//! Groups of an Entra ID account that are too many for a token: asked of Microsoft Graph, as the person.

use std::sync::Arc;

use serde_json::Value;
use url::Url;

use super::super::super::ProviderError;
use super::api::{Api, Failed};
use super::{Found, MOST_PAGES, Places, in_time};
use crate::domain::{Clock, Secret};
use crate::outbound::provider::ProviderClient;

/// By the issuer's host. What a token itself names as the source of its groups is an address of an API that is gone, and
/// somebody else's word on where to send an access token.
const CLOUDS: [(&str, &str); 5] = [
    ("login.microsoftonline.com", "https://graph.microsoft.com/"),
    ("sts.windows.net", "https://graph.microsoft.com/"),
    ("login.microsoftonline.us", "https://graph.microsoft.us/"),
    (
        "login.partner.microsoftonline.cn",
        "https://microsoftgraph.chinacloudapi.cn/",
    ),
    ("login.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn/"),
];
/// Groups, directory roles and administrative units, all by object id; a page holds no more.
const QUESTION: &str = "v1.0/me/transitiveMemberOf?$select=id&$top=999";

pub(in super::super) struct Graph {
    base: Url,
    api: Api,
}

impl Graph {
    /// `None` where the issuer is none of Microsoft's.
    pub(in super::super) fn of(
        issuer: &Url,
        places: &Places,
        http: &Arc<ProviderClient>,
        clock: &Arc<dyn Clock>,
    ) -> Option<Self> {
        let fixed = || Url::parse(graph_of(issuer)?).ok();
        Some(Self {
            base: places.graph.clone().or_else(fixed)?,
            api: Api::new("Microsoft Graph", http.clone(), clock.clone()),
        })
    }

    /// The object ids of all groups, as the groups claim has them.
    pub(in super::super) async fn groups(&self, access_token: &Secret) -> Result<Vec<String>, ProviderError> {
        in_time(self.ask(access_token)).await
    }

    async fn ask(&self, access_token: &Secret) -> Result<Vec<String>, ProviderError> {
        let mut url = self
            .base
            .join(QUESTION)
            .map_err(|error| ProviderError::Unavailable(error.to_string()))?;
        let mut found = Found::default();
        for _ in 0..MOST_PAGES {
            let page = self.api.get(&url, access_token).await.map_err(told)?;
            let entries = page.get("value").and_then(Value::as_array);
            for entry in entries.ok_or_else(|| told(self.api.broken("answers with no list")))? {
                found.add(entry.get("id").and_then(Value::as_str).unwrap_or_default())?;
            }
            let Some(next) = page.get("@odata.nextLink") else {
                return Ok(found.0.into_iter().collect());
            };
            let next = next.as_str().and_then(|next| Url::parse(next).ok());
            url = next
                .filter(|next| next.origin() == url.origin())
                .ok_or_else(|| told(self.api.broken("leads elsewhere for its next page")))?;
        }
        Err(told(self.api.broken("tells groups without end")))
    }
}

fn graph_of(issuer: &Url) -> Option<&'static str> {
    let cloud = CLOUDS.iter().find(|(host, _)| issuer.host_str() == Some(host));
    cloud.map(|(_, graph)| *graph)
}

/// Whether an issuer is Entra ID.
pub(in super::super) fn is_entra(issuer: &str) -> bool {
    Url::parse(issuer).is_ok_and(|issuer| graph_of(&issuer).is_some())
}

fn told(failed: Failed) -> ProviderError {
    match failed {
        Failed::BadToken(why) | Failed::Denied(why) => {
            tracing::warn!(why, "groups that are too many for a token cannot be read");
            ProviderError::AccountRefused(
                "the account is in more groups than a token holds, and Microsoft Graph does not let the gateway read them: the \
                 operator must add \"User.Read\" to the provider's scopes and consent to it, or let the application's tokens \
                 carry only the groups that are assigned to it"
                    .to_owned(),
            )
        }
        Failed::NotFound => ProviderError::AccountRefused("Microsoft Graph does not know the account".to_owned()),
        Failed::Other(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ManualClock, Timestamp};
    use crate::outbound::provider::Bounds;

    fn asked_at(issuer: &str) -> Option<String> {
        let http = Arc::new(ProviderClient::new(None, false, Bounds::default()).unwrap());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_seconds(0)));
        let graph = Graph::of(&Url::parse(issuer).unwrap(), &Places::default(), &http, &clock)?;
        Some(graph.base.join(QUESTION).unwrap().into())
    }

    #[test]
    fn each_cloud_has_its_own_graph_and_no_other_issuer_has_one() {
        let asked = |host: &str| Some(format!("https://{host}/v1.0/me/transitiveMemberOf?$select=id&$top=999"));
        for (issuer, graph) in [
            (
                "https://login.microsoftonline.com/tenant/v2.0",
                asked("graph.microsoft.com"),
            ),
            ("https://sts.windows.net/tenant/", asked("graph.microsoft.com")),
            (
                "https://login.microsoftonline.us/tenant/v2.0",
                asked("graph.microsoft.us"),
            ),
            (
                "https://login.partner.microsoftonline.cn/tenant/v2.0",
                asked("microsoftgraph.chinacloudapi.cn"),
            ),
            ("https://login.microsoftonline.com.evil.test/tenant/v2.0", None),
            ("https://idp.example.com/login.microsoftonline.com", None),
            ("https://accounts.google.com", None),
        ] {
            assert_eq!(asked_at(issuer), graph, "{issuer}");
            assert_eq!(is_entra(issuer), graph.is_some(), "{issuer}");
        }
    }
}
