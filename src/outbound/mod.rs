//! The way out: the client for MLflow and the one for identity providers.

pub mod provider;
mod tls;
pub mod upstream;

pub use upstream::{LocalBody, UpstreamClient, UpstreamError};
