//! mlgate, the gate in front of MLflow.
//!
//! Every request for MLflow goes through one sentence: identify, resolve, authorize, forward, record.
//! The modules stand on floors; each imports only from floors below its own:
//!
//! | floor | modules |
//! | --- | --- |
//! | 7 | `cli` |
//! | 6 | `server` |
//! | 5 | `web` |
//! | 4 | `login`, `pipeline` |
//! | 3 | `providers`, `sessions`, `tokens`, `policy`, `mlflow`, `audit`, `client` |
//! | 2 | `store`, `outbound`, `telemetry` |
//! | 1 | `config` |
//! | 0 | `domain` |
//!
//! Two features share the house, both on by default: `server`, what operators run, and `cli`, what MLflow's users run.

pub mod domain;

#[cfg(feature = "server")]
pub mod config;

pub mod outbound;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod telemetry;

#[cfg(feature = "server")]
pub mod audit;
#[cfg(feature = "cli")]
pub mod client;
#[cfg(feature = "server")]
pub mod mlflow;
#[cfg(feature = "server")]
pub mod policy;
#[cfg(feature = "server")]
pub mod providers;
#[cfg(feature = "server")]
pub mod sessions;
#[cfg(feature = "server")]
pub mod tokens;

#[cfg(feature = "server")]
pub mod login;
#[cfg(feature = "server")]
pub mod pipeline;

#[cfg(feature = "server")]
pub mod web;

#[cfg(feature = "server")]
pub mod server;

pub mod cli;
