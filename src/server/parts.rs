//! What one configuration makes: the gate, the pages, the operator's commands. A reload makes all of it anew.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use arc_swap::ArcSwapOption;
use async_trait::async_trait;

use crate::audit::Audit;
use crate::config::{self, Config};
use crate::domain::{Clock, Identity, Random};
use crate::login::{self, Login};
use crate::outbound::provider::Bounds;
use crate::pipeline::{self, Gate, Means, Rechecks, Upstream};
use crate::policy::Policy;
use crate::providers::{Clients, Issuers, KeyCache, MetadataCache, Places, ProviderError, Vouched, Way};
use crate::sessions::cookie::Cookies;
use crate::sessions::{self, Sessions};
use crate::store::{Sealer, Store};
use crate::telemetry::Metrics;
use crate::telemetry::traces::Traces;
use crate::tokens::{self, Tokens};
use crate::web::admin_api::{AdminParts, Directory, Reloaded};
use crate::web::front::Front;
use crate::web::pages::Pages;

use super::providers;

/// What outlives every configuration.
#[derive(Clone)]
pub(super) struct Lasting {
    pub(super) store: Arc<dyn Store>,
    pub(super) saml_metadata: Arc<MetadataCache>,
    pub(super) issuer_keys: Arc<KeyCache>,
    pub(super) audit: Arc<Audit>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) traces: Traces,
    pub(super) last_reload: Arc<ArcSwapOption<Reloaded>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    /// Of APIs that tell groups.
    pub(super) places: Places,
}

pub(super) struct Assembly {
    pub(super) gate: Gate,
    pub(super) front: Front,
    pub(super) admin: AdminParts,
}

/// Builds everything or nothing. `before` is the gate in force: what is known of an unchanged upstream is kept.
pub(super) fn assemble(config: Arc<Config>, lasting: &Lasting, before: Option<&Gate>) -> Result<Assembly> {
    let Lasting {
        store,
        saml_metadata: _,
        issuer_keys,
        audit,
        metrics,
        traces,
        last_reload: _,
        clock,
        random,
        places: _,
    } = lasting.clone();
    let session = &config.session;
    let sessions = Arc::new(Sessions::new(
        settings(session),
        store.clone(),
        clock.clone(),
        random.clone(),
    ));
    let tokens = Arc::new(Tokens::new(
        tokens::Settings::new(session, &config.tokens),
        store.clone(),
        clock.clone(),
        random.clone(),
    ));
    let policy = Policy::new(&config.roles)
        .sharing_on(&config.upstreams)
        .without_marks_where(config.is_asked());
    let policy = Arc::new(policy);
    let sealer = Arc::new(Sealer::new(&session.secrets, random.clone()));
    let providers = providers::all(&config, lasting, &sealer)?;
    let mut ways = ways(&providers);
    // Nobody signs in there by a page; their tokens are rechecked like everybody's.
    let services = Clients::new(config.clients.clone(), clock.clone());
    ways.insert(config::CLIENTS.to_owned(), Way::Password(Arc::new(services)));
    let issuers = Issuers::new(&config.trusted_issuers, &issuer_keys, &clock, Bounds::default())
        .map_err(|error| anyhow!("trusted issuer {error}"))?;
    let issuers = Arc::new(issuers);
    for rule in &config.trusted_issuers {
        ways.insert(rule.id.clone(), Way::Password(issuers.clone()));
    }
    let rechecks = Rechecks::new(Means {
        ways: ways.clone(),
        sessions: sessions.clone(),
        tokens: tokens.clone(),
        audit: audit.clone(),
        metrics: metrics.clone(),
        clock: clock.clone(),
        random: random.clone(),
    });
    let upstreams = upstreams(&config, &clock, before)?;
    let gate = Gate::new(
        config.clone(),
        upstreams,
        pipeline::Parts {
            store: store.clone(),
            sessions: sessions.clone(),
            tokens: tokens.clone(),
            issuers: issuers.clone(),
            rechecks: Arc::new(rechecks),
            policy: policy.clone(),
            audit: audit.clone(),
            metrics: metrics.clone(),
            traces: Some(traces),
            clock: clock.clone(),
            random: random.clone(),
        },
    );
    let login = Login::new(
        &config,
        login::Parts {
            providers,
            sessions: sessions.clone(),
            tokens: tokens.clone(),
            issuers,
            sealer,
            store,
            audit: audit.clone(),
            metrics,
            clock: clock.clone(),
            random: random.clone(),
        },
    );
    let admin = AdminParts {
        sessions: sessions.clone(),
        tokens,
        directory: Arc::new(Ways(ways, clock.clone())),
        audit,
        on_audit_failure: config.audit.on_failure,
        personal_max_lifetime: config.tokens.personal_max_lifetime,
        last_reload: lasting.last_reload.clone(),
        clock,
        random,
    };
    let front = Front {
        login,
        pages: Arc::new(Pages::new(&config).map_err(|error| anyhow!(error))?),
        cookies: Cookies::new(&config),
        sessions,
        policy,
        config,
    };
    Ok(Assembly { gate, front, admin })
}

fn settings(session: &config::Session) -> sessions::Settings {
    sessions::Settings {
        secrets: session.secrets.clone(),
        idle_timeout: session.idle_timeout,
        absolute_timeout: session.absolute_timeout,
        recheck: session.recheck,
        outage_grace: session.outage_grace,
    }
}

fn upstreams(config: &Config, clock: &Arc<dyn Clock>, before: Option<&Gate>) -> Result<Vec<Upstream>> {
    config
        .upstreams
        .iter()
        .map(|section| {
            let known = before
                .into_iter()
                .flat_map(Gate::upstreams)
                .find_map(|upstream| upstream.under(section));
            known.map_or_else(|| Upstream::new(section, clock), Ok)
        })
        .map(|upstream| upstream.map_err(|error| anyhow!("upstream: {error}")))
        .collect()
}

fn ways(providers: &[login::Provider]) -> HashMap<String, Way> {
    providers
        .iter()
        .map(|provider| (provider.id.clone(), provider.way.clone()))
        .collect()
}

/// Users who are not there, for tokens that the operator makes for them.
struct Ways(HashMap<String, Way>, Arc<dyn Clock>);

#[async_trait]
impl Directory for Ways {
    async fn identity(&self, provider: &str, user: &str) -> Result<Identity, ProviderError> {
        let unknown = || ProviderError::AccountRefused("there is no such provider".to_owned());
        let way = self.0.get(provider).ok_or_else(unknown)?;
        let asked = Identity {
            provider: provider.to_owned(),
            subject: user.to_owned(),
            user: user.to_owned(),
            display_name: None,
            email: None,
            groups: Vec::new(),
            authenticated_at: self.1.now(),
        };
        match way {
            Way::Password(provider) => provider
                .recheck(&asked, None)
                .await
                .map(|Vouched { identity, .. }| identity),
            Way::Redirect(_) => Err(ProviderError::AccountRefused(
                "this provider answers only to the person: let them sign in and make the token themselves".to_owned(),
            )),
        }
    }
}
