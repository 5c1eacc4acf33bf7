//! The way out: the clients for MLflow, for identity providers and for a collector of traces.

pub mod body;
mod collector;
mod pool;
pub mod provider;
pub mod tls;
pub mod upstream;
mod wire;

pub use body::LocalBody;
pub use collector::CollectorClient;
pub use upstream::{UpstreamClient, UpstreamError};
