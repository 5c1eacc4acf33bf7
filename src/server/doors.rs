//! How many connections one address may hold, so that nobody takes all of them.

use std::any::Any;
use std::collections::HashMap;
use std::net::{IpAddr, Shutdown};
use std::sync::{Arc, Mutex, PoisonError};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use arc_swap::ArcSwap;

use crate::pipeline::Gate;
use crate::telemetry::Metrics;

/// Connections in all; what comes above waits in the kernel's queue.
pub(super) const ALL: usize = 8192;
/// Connections of one address that is no trusted proxy.
const PER_ADDRESS: usize = 512;

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
