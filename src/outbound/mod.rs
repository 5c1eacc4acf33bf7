//! The way out: the client for MLflow and the one for identity providers.

pub mod provider;
pub mod upstream;

pub use upstream::{LocalBody, UpstreamClient, UpstreamError};
