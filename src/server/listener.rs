//! The main listener: people, programs and probes, over plain HTTP or TLS, HTTP/1.1 or 2.

use std::any::Any;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::{AppConfig, Extensions, Server};
use actix_web::middleware::{Condition, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer};
use anyhow::Result;
use rustls::ServerConfig;

use crate::config::Config;

use super::doors::{self, Doors};
use super::parts::Lasting;
use super::tls::{self, Certificate};
use super::{HEADER_TIME, InForce, workers};

/// A connection without a request is kept this long.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// What is under way when the gateway stops may take this long, in seconds.
const LAST_REQUESTS: u64 = 30;
/// Until TLS is closed in good order.
const FAREWELL: Duration = Duration::from_secs(5);
/// Of HTTP/2, in bytes: a stream's, and a connection's. Uploads wait for no answer of ours until so much is under way.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);

pub(super) fn serve(
    config: &Config,
    force: &InForce,
    lasting: &Lasting,
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
) -> Result<Server> {
    let InForce {
        gate,
        front,
        admin,
        health,
    } = force.clone();
    let doors = Doors::new(gate.clone().into_inner(), lasting.metrics.clone());
    let base = config.base_path().to_owned();
    let http2 = config.listen.http2;
    let app = move || {
        App::new()
            .app_data(gate.clone())
            .app_data(front.clone())
            .app_data(admin.clone())
            .app_data(health.clone())
            .wrap(Condition::new(http2, from_fn(doors::bound_streams)))
            .configure(crate::web::configure(&base))
    };
    let tls = match (&config.listen.tls, certificate) {
        (Some(settings), Some(certificate)) => Some(tls::acceptor(settings, certificate)?),
        _ => None,
    };
    // The framework offers HTTP/2 over TLS to everyone, or is put together by hand.
    if let (Some(tls), false) = (&tls, http2) {
        return http1_over_tls(listener, tls.clone(), doors, app);
    }
    let server = HttpServer::new(app)
        .client_request_timeout(HEADER_TIME)
        .client_disconnect_timeout(FAREWELL)
        .keep_alive(KEEP_ALIVE)
        // Without it a client that leaves before the answer's head is noticed at the next write, long after.
        .h1_allow_half_closed(false)
        .tcp_nodelay(true)
        .h2_initial_window_size(WINDOWS.0)
        .h2_initial_connection_window_size(WINDOWS.1)
        .max_connections(doors::ALL / workers())
        .workers(workers())
        .on_connect(move |connection, extensions| doors.enter(connection, extensions))
        .shutdown_timeout(LAST_REQUESTS)
        .disable_signals();
    let server = match (tls, http2) {
        (Some(tls), _) => server.listen_rustls_0_23(listener, tls)?,
        (None, true) => server.listen_auto_h2c(listener)?,
        (None, false) => server.listen(listener)?,
    };
    Ok(server.run())
}

fn http1_over_tls<A, I, S, B>(listener: TcpListener, tls: ServerConfig, doors: Arc<Doors>, app: A) -> Result<Server>
where
    A: Fn() -> I + Send + Clone + 'static,
    I: actix_service::IntoServiceFactory<S, actix_http::Request>,
    S: actix_service::ServiceFactory<
            actix_http::Request,
            Config = AppConfig,
            Response = actix_web::dev::ServiceResponse<B>,
            Error = actix_web::Error,
            InitError = (),
        > + 'static,
    S::Service: 'static,
    <S::Service as actix_service::Service<actix_http::Request>>::Future: 'static,
    B: actix_web::body::MessageBody + 'static,
{
    let builder = Server::build()
        .workers(workers())
        .max_concurrent_connections(doors::ALL / workers())
        .shutdown_timeout(LAST_REQUESTS)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let server = builder.listen("main", listener, move || {
        let (doors, stopping) = (doors.clone(), stopping.clone());
        HttpService::build()
            // Connections that only wait are closed at once when the gateway stops.
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .client_request_timeout(HEADER_TIME)
            .client_disconnect_timeout(FAREWELL)
            .keep_alive(KEEP_ALIVE)
            .h1_allow_half_closed(false)
            .tcp_nodelay(true)
            .secure()
            .on_connect_ext(move |connection: &TlsStream<TcpStream>, extensions: &mut Extensions| {
                doors.enter(connection as &dyn Any, extensions);
            })
            .h1(actix_service::map_config(app(), |()| AppConfig::default()))
            .rustls_0_23(tls.clone())
    })?;
    Ok(server.run())
}
