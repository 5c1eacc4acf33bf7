//! The way out: the clients for MLflow, for identity providers and for a collector of traces.

#[cfg(feature = "server")]
pub mod body;
#[cfg(feature = "server")]
mod collector;
#[cfg(feature = "server")]
mod pool;
#[cfg(feature = "server")]
pub mod provider;
#[cfg(feature = "server")]
pub mod tls;
pub mod trust;
#[cfg(feature = "server")]
pub mod upstream;
#[cfg(feature = "server")]
mod wire;

#[cfg(feature = "server")]
pub use body::LocalBody;
#[cfg(feature = "server")]
pub use collector::CollectorClient;
#[cfg(feature = "server")]
pub use upstream::{UpstreamClient, UpstreamError};
