//! `envoy.service.auth.v3.Authorization/Check` on a listener of its own: one call of gRPC over HTTP/2, answered on the thread of
//! its connection.

mod call;
mod messages;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::web::Data;
use arc_swap::ArcSwap;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::pipeline::Gate;

use super::front::Front;

/// Envoy keeps a few connections per worker.
const CONNECTIONS: usize = 1024;
/// Calls at once on one of them.
const CALLS: u32 = 256;
/// Of one call's own headers, which are few.
const HEADERS: u32 = 16 * 1024;
/// A connection that says nothing is asked whether it is alive.
const ALIVE_EVERY: Duration = Duration::from_secs(20);
const ALIVE_WITHIN: Duration = Duration::from_secs(10);
/// What is under way when the gateway stops.
const LAST_CALLS: Duration = Duration::from_secs(10);

/// What a call is answered with.
#[derive(Clone)]
pub struct Door {
    pub gate: Data<ArcSwap<Gate>>,
    pub front: Data<ArcSwap<Front>>,
}

/// Answers until `stop` says true; then lets the calls under way finish.
pub async fn serve(listener: TcpListener, door: Door, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let stopped = stop.clone();
    loop {
        while connections.try_join_next().is_some() {}
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next(), if connections.len() >= CONNECTIONS => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn_local(connection(stream, peer, door.clone(), stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to listen.ext_authz_address cannot be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    // What is not over by then is broken off.
    let _ = tokio::time::timeout(LAST_CALLS, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, door: Door, mut stop: watch::Receiver<bool>) {
    // Without it an answer waits for the next one.
    let _ = stream.set_nodelay(true);
    let peer = peer.ip().to_canonical();
    let service = service_fn(move |request| {
        let door = door.clone();
        async move { Ok::<_, std::convert::Infallible>(call::answer(&door, peer, request).await) }
    });
    let mut builder = http2::Builder::new(OnThisThread);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(CALLS)
        .max_header_list_size(HEADERS)
        .keep_alive_interval(ALIVE_EVERY)
        .keep_alive_timeout(ALIVE_WITHIN);
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        _ = stop.wait_for(|stop| *stop) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "a connection to listen.ext_authz_address broke");
    }
}

/// A request stays on its thread, and so does whatever answers it.
#[derive(Clone, Copy)]
struct OnThisThread;

impl<F: Future + 'static> hyper::rt::Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}
