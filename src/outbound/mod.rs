//! The way out: the client for MLflow and the one for identity providers.

pub mod body;
mod pool;
pub mod provider;
pub mod tls;
pub mod upstream;
mod wire;

pub use body::LocalBody;
pub use upstream::{UpstreamClient, UpstreamError};
