//! The state of the gateway at a glance: configuration, MLflow, ways to sign in, and what was refused last.

use actix_web::HttpResponse;
use askama::Template;

use crate::config::ProviderKind;
use crate::web::account::minute;
use crate::web::words::Fill;

use super::trail::{self, Row};
use super::{Entered, Entry, HOME, Site, TRAIL};

/// Refusals that are shown.
const REFUSALS: usize = 8;

pub(super) async fn show(admin: Entered) -> HttpResponse {
    let live = match admin.gate.sessions().count().await {
        Ok(count) => count,
        Err(error) => return admin.failed(&error.into()),
    };
    let config = &admin.here.front().config;
    let say = admin.say();
    let looked_for = trail::LookedFor {
        outcome: Some("refused".to_owned()),
        ..trail::LookedFor::default()
    };
    // A trail that cannot be read is told on its own page.
    let refusals = trail::newest(&admin, looked_for, REFUSALS).await.unwrap_or_default();
    let last = admin.parts.last_reload.load_full();
    let page = OverviewPage {
        site: admin.here.pages().site(),
        menu: admin.menu(HOME),
        version: env!("CARGO_PKG_VERSION"),
        live,
        file: config.file.display().to_string(),
        reload: match last.as_deref() {
            None => say.not_reloaded.to_owned(),
            Some(reload) => {
                let text = match &reload.problem {
                    None => say.reload_taken,
                    Some(_) => say.reload_refused,
                };
                format!("{} · {text}", minute(reload.at))
            }
        },
        problem: last.and_then(|reload| reload.problem.clone()),
        warnings: config.warnings.iter().map(ToString::to_string).collect(),
        trail_file: config.audit.file.display().to_string(),
        upstreams: admin
            .gate
            .upstreams()
            .iter()
            .map(|upstream| Upstream {
                name: upstream.name.to_string(),
                version: upstream
                    .mlflow
                    .version()
                    .map_or_else(|| "?".to_owned(), |version| format!("{}.{}", version.0, version.1)),
                is_ready: upstream.mlflow.is_ready(),
            })
            .collect(),
        ways: config
            .providers
            .iter()
            .map(|provider| Way {
                id: provider.id.clone(),
                label: provider.label.clone(),
                kind: match provider.kind {
                    ProviderKind::Local(_) => "local",
                    ProviderKind::Oidc(_) => "oidc",
                    ProviderKind::Ldap(_) => "ldap",
                    ProviderKind::Saml(_) => "saml",
                },
            })
            .collect(),
        refusals: refusals.rows,
        trail: admin.path(TRAIL),
    };
    admin.page(200, page)
}

struct Upstream {
    name: String,
    version: String,
    is_ready: bool,
}

struct Way {
    id: String,
    label: String,
    kind: &'static str,
}

#[derive(Template)]
#[template(path = "admin.html")]
struct OverviewPage<'a> {
    site: Site<'a>,
    menu: Vec<Entry>,
    version: &'a str,
    live: usize,
    file: String,
    reload: String,
    /// Why the last reload was refused, in English.
    problem: Option<String>,
    warnings: Vec<String>,
    trail_file: String,
    upstreams: Vec<Upstream>,
    ways: Vec<Way>,
    refusals: Vec<Row>,
    trail: String,
}
