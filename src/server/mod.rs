//! How the parts are put together, reloaded and stopped.

mod doors;
mod listener;
mod parts;
mod providers;
mod tls;
mod traces;
mod watch;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::dev::{Server as Running, ServerHandle};
use actix_web::{App, HttpServer, web};
use anyhow::{Context, Result, anyhow, ensure};
use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::sync::watch::{Sender, channel};
use tokio::task::JoinHandle;

use crate::audit::{Actor, Audit, Event, Outcome, Why};
use crate::config::{self, Config, StoreKind};
use crate::domain::{Clock, Random, ReasonCode, SystemClock, SystemRandom};
use crate::pipeline::Gate;
use crate::providers::Places;
use crate::store;
use crate::telemetry::Metrics;
use crate::telemetry::traces::{Finished, Traces};
use crate::web::admin_api::{self, AdminParts};
use crate::web::envoy;
use crate::web::front::Front;
use crate::web::health::{self, Health};

use parts::{Assembly, Lasting, assemble};
use tls::Certificate;
use watch::Watch;

/// A request's headers must be whole within this.
const HEADER_TIME: Duration = Duration::from_secs(15);
/// Until the collector has the last spans.
const LAST_SPANS: Duration = Duration::from_secs(2);
/// Background chores.
const CHORES: Duration = Duration::from_secs(5);

/// A gateway that listens and has not begun to answer.
pub struct Server {
    config: Arc<Config>,
    lasting: Lasting,
    spans: Finished,
    force: InForce,
    main: TcpListener,
    admin: TcpListener,
    socket: UnixListener,
    /// For Envoy's gRPC.
    asked: Option<TcpListener>,
    certificate: Option<Arc<Certificate>>,
}

/// What is in force, until a reload swaps it.
#[derive(Clone)]
struct InForce {
    gate: web::Data<ArcSwap<Gate>>,
    front: web::Data<ArcSwap<Front>>,
    admin: web::Data<ArcSwap<AdminParts>>,
    health: web::Data<Health>,
}

impl Server {
    /// Opens what the configuration names: the store, the trail, the listeners.
    ///
    /// # Errors
    /// What could not be opened, and why.
    pub fn build(config: Config) -> Result<Self> {
        Self::build_with(config, Places::default())
    }

    /// Likewise, with APIs at other places than their own.
    ///
    /// # Errors
    /// What could not be opened, and why.
    pub fn build_with(config: Config, places: Places) -> Result<Self> {
        let config = Arc::new(config);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let random: Arc<dyn Random> = Arc::new(SystemRandom::new());
        let (traces, spans) = Traces::new();
        let lasting = Lasting {
            store: store::connect(&config.session.store, clock.clone())
                .map_err(|error| anyhow!("session store: {error}"))?,
            saml_metadata: Arc::default(),
            issuer_keys: Arc::default(),
            audit: Arc::new(Audit::open(&config.audit, clock.clone())?),
            metrics: Arc::new(Metrics::new()?),
            traces,
            clock,
            random,
            places,
        };
        let certificate = config.listen.tls.as_ref().map(Certificate::load).transpose()?;
        warn(&config);
        let Assembly { gate, front, admin } = assemble(config.clone(), &lasting, None)?;
        let listen =
            |address: SocketAddr| TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"));
        Ok(Self {
            main: listen(config.listen.address)?,
            admin: listen(config.listen.admin_address)?,
            socket: operators_socket(&config.listen.admin_socket)?,
            asked: config.listen.ext_authz_address.map(listen).transpose()?,
            force: InForce {
                gate: web::Data::new(ArcSwap::from_pointee(gate)),
                front: web::Data::new(ArcSwap::from_pointee(front)),
                admin: web::Data::new(ArcSwap::from_pointee(admin)),
                health: web::Data::new(Health {
                    stopping: false.into(),
                    was_ready: false.into(),
                    store: lasting.store.clone(),
                    audit: lasting.audit.clone(),
                    metrics: lasting.metrics.clone(),
                }),
            },
            certificate,
            lasting,
            spans,
            config,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.main.local_addr()?)
    }

    /// The port of the main listener; 0 never.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn port(&self) -> Result<u16> {
        Ok(self.address()?.port())
    }

    /// Answers until a signal stops it (SIGTERM, SIGINT), or `stop` comes; then finishes what is under way.
    ///
    /// # Errors
    /// When a listener fails.
    pub async fn run_until_stopped(self) -> Result<()> {
        let Self {
            config,
            lasting,
            spans,
            force,
            main,
            admin,
            socket,
            asked,
            certificate,
        } = self;
        let main = listener::serve(&config, &force, &lasting, main, certificate.clone())?;
        let operators = serve_operators(&force, admin, socket)?;
        let handles = [main.handle(), operators.handle()];
        let (envoy, envoy_stops) = serve_envoy(&force, asked)?;
        let mut running = actix_web::rt::spawn(main);
        let aside = actix_web::rt::spawn(operators);
        let chores = actix_web::rt::spawn(chores(force.clone(), lasting.clone()));
        let errands = actix_web::rt::spawn(errands(force.clone()));
        let (stop_traces, stopping) = oneshot::channel();
        let traces = actix_web::rt::spawn(traces::send(spans, force.clone(), stopping, lasting.metrics.clone()));
        let socket_file = config.listen.admin_socket.clone();
        let reloads = Reloads {
            config,
            lasting: lasting.clone(),
            force: force.clone(),
            certificate,
        };
        tokio::select! {
            ended = &mut running => ended??,
            () = reloads.until_stopped() => {
                force.health.stopping.store(true, Ordering::Release);
                tracing::info!("stopping: requests under way may finish");
                // Nobody listens where it is off.
                let _ = envoy_stops.send(true);
                stop(&handles).await;
                running.await??;
                envoy.await?;
            }
        }
        aside.await??;
        // What the last requests were is news too, but nobody waits long for a collector.
        drop(stop_traces);
        let _ = tokio::time::timeout(LAST_SPANS, traces).await;
        for task in [chores, errands] {
            task.abort();
            let _ = task.await;
        }
        // Gone already is as good.
        let _ = fs::remove_file(socket_file);
        drop(force);
        close_trail(lasting).await;
        Ok(())
    }
}

fn warn(config: &Config) {
    for problem in &config.warnings {
        tracing::warn!(%problem, "the configuration");
    }
}

async fn stop(handles: &[ServerHandle]) {
    for handle in handles {
        handle.stop(true).await;
    }
}

/// Waits until all that was recorded is written.
async fn close_trail(lasting: Lasting) {
    let Lasting { audit, .. } = lasting;
    if let Some(audit) = Arc::into_inner(audit) {
        // Blocks until the writer's thread has ended.
        let _ = tokio::task::spawn_blocking(move || audit.close()).await;
    }
}

/// Envoy's gRPC, on this thread: a decision takes less than the message around it.
fn serve_envoy(force: &InForce, listener: Option<TcpListener>) -> Result<(JoinHandle<()>, Sender<bool>)> {
    let (stop, stopped) = channel(false);
    let door = envoy::Door {
        gate: force.gate.clone(),
        front: force.front.clone(),
    };
    let listener = listener
        .map(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        })
        .transpose()?;
    let serving = actix_web::rt::spawn(async move {
        if let Some(listener) = listener {
            envoy::serve(listener, door, stopped).await;
        }
    });
    Ok((serving, stop))
}

/// Metrics and health by TCP, the operator's commands by the socket alone.
fn serve_operators(force: &InForce, listener: TcpListener, socket: UnixListener) -> Result<Running> {
    let InForce {
        gate, admin, health, ..
    } = force.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(gate.clone())
            .app_data(health.clone())
            .app_data(admin.clone())
            .configure(health::configure_admin)
            .configure(by_socket_alone)
    });
    Ok(server
        .client_request_timeout(HEADER_TIME)
        .workers(1)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?
        .listen_uds(socket)?
        .run())
}

/// The commands, for connections that come by the socket: those alone have no IP address.
fn by_socket_alone(config: &mut web::ServiceConfig) {
    config.service(
        web::scope("")
            .guard(actix_web::guard::fn_guard(|context| context.head().peer_addr.is_none()))
            .configure(admin_api::configure),
    );
}

fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// The operator's socket. One that a dead process left behind is replaced; a living one is not.
fn operators_socket(file: &Path) -> Result<UnixListener> {
    let told = || format!("cannot listen on {}", file.display());
    if file.exists() {
        ensure!(
            UnixStream::connect(file).is_err(),
            "{}: another gateway listens there",
            told()
        );
        fs::remove_file(file).with_context(told)?;
    }
    // Nobody else can pass the folder until the socket has its mode.
    let folder = file.with_extension("making");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).with_context(told)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).with_context(told)?;
    let making = folder.join("s");
    let listener = UnixListener::bind(&making).with_context(told)?;
    fs::set_permissions(&making, fs::Permissions::from_mode(0o600)).with_context(told)?;
    fs::rename(&making, file).with_context(told)?;
    fs::remove_dir(&folder).with_context(told)?;
    Ok(listener)
}

/// What providers do beside all requests. Apart from the chores: a slow answer of one keeps nobody from them.
async fn errands(force: InForce) {
    loop {
        force.gate.load().refresh();
        let front = force.front.load_full();
        for provider in front.login.choices() {
            provider.way.refresh().await;
        }
        drop(front);
        tokio::time::sleep(CHORES).await;
    }
}

async fn chores(force: InForce, lasting: Lasting) {
    loop {
        let gate = force.gate.load_full();
        for upstream in gate.upstreams() {
            upstream.mlflow.refresh().await;
            for (cache, (hits, misses)) in upstream.mlflow.lookup(None).counts() {
                lasting.metrics.cache(&upstream.name, cache, hits, misses);
            }
        }
        // Away, it is told elsewhere.
        if let Ok(count) = gate.sessions().count().await {
            lasting.metrics.sessions(count);
        }
        lasting.metrics.tidy();
        drop(gate);
        tokio::time::sleep(CHORES).await;
    }
}

// === Reload ===

struct Reloads {
    config: Arc<Config>,
    lasting: Lasting,
    force: InForce,
    certificate: Option<Arc<Certificate>>,
}

impl Reloads {
    /// Reloads whenever it is asked for; returns when the process is told to stop.
    async fn until_stopped(mut self) {
        let signals = (
            signal(SignalKind::hangup()),
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        );
        let (Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)) = signals else {
            tracing::error!("signals cannot be received: stop with SIGKILL");
            return std::future::pending().await;
        };
        let mut watch = Watch::new(&self.config.watched);
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => {}
                () = watch.changed() => {}
            }
            // Watched from before it is read: what changes meanwhile must not go unnoticed.
            let next = Watch::new(&self.config.watched);
            self.reload().await;
            watch = match next.is_of(&self.config.watched) {
                true => next,
                false => Watch::new(&self.config.watched),
            };
        }
    }

    /// The new configuration takes over whole, or the old one stays.
    async fn reload(&mut self) {
        let outcome = self.take_over();
        let (label, outcome, reason) = match outcome {
            Ok(()) => {
                tracing::info!("the new configuration is in force");
                (
                    "taken_over",
                    Outcome::Allowed,
                    "The new configuration is in force.".to_owned(),
                )
            }
            Err(error) => {
                let text = format!("{error:#}");
                tracing::error!(
                    error = text,
                    "the new configuration is refused; the old one stays in force"
                );
                (
                    "refused",
                    Outcome::Failed,
                    format!("The old configuration stays in force: {text}"),
                )
            }
        };
        self.lasting.metrics.reload(label);
        let event = Event {
            time: self.lasting.clock.now(),
            id: hex::encode(self.lasting.random.bytes::<16>()),
            request_id: None,
            actor: Actor::default().into(),
            action: "config.reload".into(),
            resources: Vec::new(),
            upstream: None,
            outcome,
            reason: Why {
                code: ReasonCode::Requested.as_str().into(),
                text: reason,
            },
            http: None,
        };
        if let Err(error) = self.lasting.audit.record(event).await {
            tracing::error!(%error, "an event is missing from the trail");
        }
    }

    fn take_over(&mut self) -> Result<()> {
        let mut config = config::load(&self.config.file).map_err(|problems| {
            let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
            anyhow!("{}", texts.join("; "))
        })?;
        if config.session.secrets_made_up && self.config.session.secrets_made_up {
            config.session.secrets.clone_from(&self.config.session.secrets);
        }
        must_not_need_a_restart(&self.config, &config)?;
        let certificate = config.listen.tls.as_ref().map(Certificate::read).transpose()?;
        let config = Arc::new(config);
        let before = self.force.gate.load_full();
        let Assembly { gate, front, admin } = assemble(config.clone(), &self.lasting, Some(&before))?;
        // Nothing can fail from here on.
        warn(&config);
        self.force.gate.store(Arc::new(gate));
        self.force.front.store(Arc::new(front));
        self.force.admin.store(Arc::new(admin));
        if let (Some(shown), Some(certificate)) = (&self.certificate, certificate) {
            shown.replace(certificate);
        }
        self.config = config;
        Ok(())
    }
}

/// What is opened once cannot change while it is open.
fn must_not_need_a_restart(old: &Config, new: &Config) -> Result<()> {
    let redis = |config: &Config| match &config.session.store {
        StoreKind::Memory => None,
        StoreKind::Redis { url, ca_file } => Some((url.expose().to_owned(), ca_file.clone())),
    };
    let tls = |config: &Config| {
        config
            .listen
            .tls
            .as_ref()
            .map(|tls| (tls.only_tls13, tls.client_ca_file.clone()))
    };
    let changed = [
        ("listen.address", old.listen.address != new.listen.address),
        (
            "listen.admin_address",
            old.listen.admin_address != new.listen.admin_address,
        ),
        (
            "listen.admin_socket",
            old.listen.admin_socket != new.listen.admin_socket,
        ),
        (
            "listen.ext_authz_address",
            old.listen.ext_authz_address != new.listen.ext_authz_address,
        ),
        ("listen.http2", old.listen.http2 != new.listen.http2),
        ("listen.tls", tls(old) != tls(new)),
        ("session.store", redis(old) != redis(new)),
        ("audit", format!("{:?}", old.audit) != format!("{:?}", new.audit)),
        ("public_url's path", old.base_path() != new.base_path()),
    ];
    let changed: Vec<_> = changed
        .into_iter()
        .filter(|(_, changed)| *changed)
        .map(|(key, _)| key)
        .collect();
    ensure!(changed.is_empty(), "a change of {} needs a restart", changed.join(", "));
    Ok(())
}
