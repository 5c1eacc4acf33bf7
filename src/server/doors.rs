//! How many connections one address may hold, so that nobody takes all of them.

use std::any::Any;
use std::collections::HashMap;
use std::net::{IpAddr, Shutdown};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::rt::net::TcpStream;
use actix_web::{Error, HttpResponse};
use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::pipeline::Gate;
use crate::telemetry::Metrics;

/// Connections in all; what comes above waits in the kernel's queue.
pub(super) const ALL: usize = 8192;
/// Connections of one address that is no trusted proxy.
const PER_ADDRESS: usize = 512;
/// Requests under way over one HTTP/2 connection; browsers have a hundred at most.
const STREAMS: usize = 256;

pub(super) struct Doors {
    gate: Arc<ArcSwap<Gate>>,
    metrics: Arc<Metrics>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place. Lives as long as the connection.
struct Place {
    doors: Arc<Doors>,
    address: IpAddr,
    streams: Arc<AtomicUsize>,
}

/// One request's place on its connection. Lives as long as its answer.
struct Stream(Arc<AtomicUsize>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// An answer that keeps its place until it is sent.
struct Sending {
    body: BoxBody,
    _stream: Stream,
}

impl MessageBody for Sending {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.body.as_pin_mut().poll_next(cx)
    }
}

/// HTTP/2 lets a client ask for as much as it likes at once, over one connection.
pub(super) async fn bound_streams(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let place = request.conn_data::<Place>().map(|place| place.streams.clone());
    let Some(streams) = place else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let before = streams.fetch_add(1, Ordering::AcqRel);
    let stream = Stream(streams);
    if before >= STREAMS {
        let refused = HttpResponse::TooManyRequests()
            .insert_header(("retry-after", "1"))
            .insert_header(("cache-control", "no-store"))
            .finish();
        return Ok(request.into_response(refused));
    }
    let answer = next.call(request).await?.map_into_boxed_body();
    Ok(answer.map_body(|_, body| BoxBody::new(Sending { body, _stream: stream })))
}

impl Doors {
    pub(super) fn new(gate: Arc<ArcSwap<Gate>>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            gate,
            metrics,
            held: Mutex::default(),
        })
    }

    /// Gives a new connection its place, or closes it.
    pub(super) fn enter(self: &Arc<Self>, connection: &dyn Any, extensions: &mut Extensions) {
        let stream = connection.downcast_ref::<TcpStream>().or_else(|| {
            connection
                .downcast_ref::<TlsStream<TcpStream>>()
                .map(|stream| stream.get_ref().0)
        });
        let Some((stream, peer)) =
            stream.and_then(|stream| Some((stream, stream.peer_addr().ok()?.ip().to_canonical())))
        else {
            return;
        };
        match self.take(peer) {
            Some(place) => {
                extensions.insert(place);
            }
            // A peer that is gone already needs no closing.
            None => drop(socket2::SockRef::from(stream).shutdown(Shutdown::Both)),
        }
    }

    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let bounded = !self.gate.load().is_trusted(address);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.by_address.entry(address).or_default();
        if bounded && *count >= PER_ADDRESS {
            return None;
        }
        *count += 1;
        held.all += 1;
        self.metrics.connections(held.all);
        Some(Place {
            doors: self.clone(),
            address,
            streams: Arc::default(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.doors.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all = held.all.saturating_sub(1);
        if let Some(count) = held.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.by_address.remove(&self.address);
            }
        }
        self.doors.metrics.connections(held.all);
    }
}
