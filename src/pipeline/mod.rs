//! How a request gets through: identify, resolve, authorize, forward, record.

mod accounts;
mod address;
mod asked;
mod assertion;
mod decide;
mod forward;
mod headers;
mod identify;
mod incoming;
mod introduce;
mod recheck;
mod record;
mod share;
mod site;
mod stopped;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::audit::Audit;
use crate::config::{self, Config, OnAuditFailure};
use crate::domain::{Caller, Clock, Random, Scope};
use crate::mlflow::{self, Mlflow, Source};
use crate::outbound::UpstreamClient;
use crate::policy::{Permit, Policy};
use crate::providers::Issuers;
use crate::sessions::Sessions;
use crate::sessions::cookie::Cookies;
use crate::store::{Sealer, Store, Throttle, Throttled};
use crate::telemetry::Metrics;
use crate::telemetry::traces::Traces;
use crate::tokens::Tokens;

use accounts::Accounts;
use introduce::{Introduction, Introductions};
use record::Trail;
use site::Site;

pub use asked::{Asked, Misasked, Shown, must_be_web, split as split_url};
pub use assertion::Assertions;
pub use decide::Granted;
pub use forward::Response;
pub use headers::{TakenOff, is_twin};
pub use incoming::{Incoming, Seen, head_size, is_navigation};
pub use recheck::{Means, Rechecks};
pub use record::Record;
pub use stopped::{Stopped, Told};

/// Everything that a request passes through, under one configuration. A reload makes a new one.
pub struct Gate {
    config: Arc<Config>,
    site: Site,
    cookies: Cookies,
    sessions: Arc<Sessions>,
    tokens: Arc<Tokens>,
    issuers: Arc<Issuers>,
    rechecks: Arc<Rechecks>,
    policy: Arc<Policy>,
    upstreams: Vec<Upstream>,
    assertions: Assertions,
    trail: Arc<Trail>,
    /// MLflow's, where its own roles hold.
    accounts: Accounts,
    /// `limits.requests`.
    limit: Option<Throttle>,
    /// Places for ingresses that ask.
    checks: Semaphore,
    /// Places for large bodies that are read to decide.
    bodies: Arc<Semaphore>,
    /// Seals the page tokens of lists that were cut down.
    pages: Sealer,
}

/// One MLflow server, with what is known of it.
pub struct Upstream {
    pub name: Arc<str>,
    pub client: Arc<UpstreamClient>,
    pub mlflow: Arc<Mlflow>,
    section: config::Upstream,
    introductions: Introductions,
}

/// What a gate is made of besides its configuration; these outlive a reload.
#[derive(Clone)]
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub sessions: Arc<Sessions>,
    pub tokens: Arc<Tokens>,
    pub issuers: Arc<Issuers>,
    pub rechecks: Arc<Rechecks>,
    pub policy: Arc<Policy>,
    pub audit: Arc<Audit>,
    pub metrics: Arc<Metrics>,
    /// `None` where nobody takes them.
    pub traces: Option<Traces>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

/// A request that ended early, and the record that its answer closes.
pub struct Halted {
    pub stopped: Stopped,
    pub record: Record,
}

impl Gate {
    pub fn new(config: Arc<Config>, upstreams: Vec<Upstream>, parts: Parts) -> Self {
        let pages = Sealer::new(&config.session.secrets, parts.random.clone());
        let trail = Trail {
            audit: parts.audit,
            metrics: parts.metrics,
            clock: parts.clock,
            random: parts.random,
            reads: config.audit.reads,
            refuse: config.audit.on_failure == OnAuditFailure::Refuse,
            traces: config.telemetry.otlp.as_ref().and(parts.traces),
        };
        let managed = config.roles.iter().map(|role| role.name.clone()).collect();
        Self {
            accounts: Accounts::new(managed, config.session.recheck),
            site: Site::new(&config),
            cookies: Cookies::new(&config),
            sessions: parts.sessions,
            tokens: parts.tokens,
            issuers: parts.issuers,
            rechecks: parts.rechecks,
            policy: parts.policy,
            upstreams,
            assertions: Assertions::new(
                config.public_url.as_str().trim_end_matches('/'),
                &config.session.secrets,
            ),
            trail: Arc::new(trail),
            limit: config
                .limits
                .requests
                .map(|rate| Throttle::new(parts.store, "requests", rate)),
            checks: Semaphore::new(decide::AT_ONCE),
            bodies: Arc::new(Semaphore::new(incoming::LARGE_AT_ONCE)),
            pages,
            config,
        }
    }

    /// The whole way of a request for MLflow.
    ///
    /// # Errors
    /// Why it ended early; whoever answers closes the record that comes with it.
    pub async fn pass(&self, mut incoming: Incoming) -> Result<Response, Halted> {
        let mut record = self.trail.begin(&incoming);
        incoming.is_bounded_by(self.bodies.clone());
        match self.check(&mut incoming, &mut record).await {
            Ok((upstream, permit, introduction)) => {
                self.forward(upstream, permit, introduction.as_deref(), incoming, record)
                    .await
            }
            Err(stopped) => Err(Halted { stopped, record }),
        }
    }

    /// Identify, resolve, authorize. Both doors share it.
    async fn check(
        &self,
        incoming: &mut Incoming,
        record: &mut Record,
    ) -> Result<(&Upstream, Permit<mlflow::Request>, Option<Arc<Introduction>>), Stopped> {
        let (upstream, caller, introduction) = self.who(incoming, record).await?;
        // Boxed: what a request may look up takes more room than a worker's stack should give each caller.
        let asking = caller.as_ref().map(|caller| caller.identity.as_ref());
        let standing = introduction.as_deref().map(|introduction| &introduction.standing);
        let enters = |workspace: &str| standing.is_some_and(|standing| standing.enters(workspace));
        let request = Box::pin(upstream.mlflow.request(incoming, asking, &enters)).await?;
        record.asks(&request);
        let permit = self.policy.authorize(caller.zip(standing), request)?;
        Ok((upstream, permit, introduction))
    }

    /// Who asks, of which upstream, after all that holds for every request.
    async fn who(
        &self,
        incoming: &Incoming,
        record: &mut Record,
    ) -> Result<(&Upstream, Option<Caller>, Option<Arc<Introduction>>), Stopped> {
        let upstream = self.admit(incoming)?;
        record.asked_of(&upstream.name);
        // Before anything is read or looked up: a stranger costs nobody anything.
        self.limit(|limit| limit.admit_address(incoming.address)).await?;
        let is_public = || upstream.mlflow.is_public(incoming.method(), incoming.path());
        let caller = self.identify(incoming, is_public).await?;
        let introduction = caller.as_ref().map(|caller| self.introduction(upstream, caller));
        if let (Some(caller), Some(introduction)) = (&caller, &introduction) {
            record.asked_by(caller, &introduction.author);
            self.site.must_be_asked_from_here(incoming, caller)?;
            let (provider, user) = (&caller.identity.provider, &caller.identity.subject);
            self.limit(|limit| limit.admit_user(provider, user)).await?;
        }
        Ok((upstream, caller, introduction))
    }

    /// Counts a request where the configuration wants it. A store that is away counts nothing, and stops nobody here.
    async fn limit<'a, F>(&'a self, count: impl FnOnce(&'a Throttle) -> F) -> Result<(), Stopped>
    where
        F: Future<Output = Result<(), Throttled>>,
    {
        let Some(limit) = &self.limit else { return Ok(()) };
        // Boxed: most gateways have no limit, and no request needs its room.
        match Box::pin(count(limit)).await {
            Err(Throttled::Wait(wait)) => Err(Stopped::TooOften(wait)),
            Ok(()) | Err(Throttled::StoreAway(_)) => Ok(()),
        }
    }

    fn introduction(&self, upstream: &Upstream, caller: &Caller) -> Arc<Introduction> {
        let means = introduce::Means {
            policy: &self.policy,
            assertions: &self.assertions,
            upstream: &upstream.name,
            now: self.trail.clock.now(),
        };
        upstream.introductions.of(caller, &means)
    }

    /// What holds for every request, whoever sends it.
    fn admit(&self, incoming: &Incoming) -> Result<&Upstream, Stopped> {
        if !self.may_connect(incoming.address) {
            return Err(Stopped::Network);
        }
        if !self.trail.is_open() {
            return Err(Stopped::TrailAway);
        }
        self.site
            .must_be_well_formed(incoming, self.config.limits.header_size)?;
        self.upstream_of(incoming.host()).ok_or(Stopped::UnknownHost)
    }

    /// The upstream that answers to a host; one without hosts answers to any.
    fn upstream_of(&self, host: Option<&str>) -> Option<&Upstream> {
        let host = host.map(site::without_port).unwrap_or_default().to_ascii_lowercase();
        let named = self
            .upstreams
            .iter()
            .find(|upstream| upstream.section.hosts.contains(&host));
        named.or_else(|| self.upstreams.iter().find(|upstream| upstream.section.hosts.is_empty()))
    }

    /// Whether `[network]` lets this address in; for every page, MLflow's and ours.
    pub fn may_connect(&self, address: IpAddr) -> bool {
        address::may_connect(address, &self.config.network)
    }

    /// Whether a request's head is within `limits.header_size`; for our own pages, as `check` does it for MLflow's.
    pub fn has_room_for(&self, head_size: usize) -> bool {
        head_size <= self.config.limits.header_size
    }

    /// Whether a caller reaches the operator's pages, on whichever upstream. A token that holds less than its owner does not.
    pub fn is_admin(&self, caller: &Caller) -> bool {
        let holds = |upstream: &Upstream| self.policy.roles_of(&caller.identity, &upstream.name).are_admin();
        caller.scope == Scope::default() && self.upstreams.iter().any(holds)
    }

    pub fn is_trusted(&self, address: IpAddr) -> bool {
        address::is_trusted(address, &self.config.network)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub fn upstreams(&self) -> &[Upstream] {
        &self.upstreams
    }

    /// The providers and trusted issuers that could not answer now, by id, with the cause.
    pub async fn providers_away(&self) -> Vec<(String, String)> {
        let mut away = self.rechecks.away().await;
        away.extend(self.issuers.away());
        away
    }

    /// What is kept fresh beside all requests.
    pub fn refresh(&self) {
        self.issuers.refresh();
    }

    pub fn assertions(&self) -> &Assertions {
        &self.assertions
    }

    /// The path of `public_url`, without a trailing slash.
    pub fn base_path(&self) -> &str {
        &self.site.base
    }

    /// The URL at which a person signs in.
    pub fn login_url(&self) -> String {
        format!("{}/auth/login", self.site.url)
    }
}

impl Upstream {
    /// # Errors
    /// When a certificate file cannot be used.
    pub fn new(config: &config::Upstream, clock: &Arc<dyn Clock>) -> Result<Self, String> {
        let client = Arc::new(UpstreamClient::new(config)?);
        Ok(Self {
            name: config.name.as_str().into(),
            mlflow: Arc::new(Mlflow::new(config, client.clone(), clock.clone())),
            client,
            section: config.clone(),
            introductions: Introductions::new(),
        })
    }

    /// The same server under a new configuration, with all that is known of it; `None` where its section changed.
    pub fn under(&self, section: &config::Upstream) -> Option<Self> {
        // A secret does not print, so it is compared by itself.
        let credential = |section: &config::Upstream| {
            section
                .basic_auth
                .as_ref()
                .map(|(user, password)| (user.clone(), password.expose().to_owned()))
        };
        // Certificates may have changed where their names have not.
        let is_plain = section.ca_file.is_none() && section.client_cert_file.is_none();
        let is_same = format!("{:?}", self.section) == format!("{section:?}")
            && credential(&self.section) == credential(section)
            && is_plain;
        is_same.then(|| Self {
            name: self.name.clone(),
            client: self.client.clone(),
            mlflow: self.mlflow.clone(),
            section: self.section.clone(),
            introductions: Introductions::new(),
        })
    }
}
