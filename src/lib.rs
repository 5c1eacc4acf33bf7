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
//! | 3 | `providers`, `sessions`, `tokens`, `policy`, `mlflow`, `audit` |
//! | 2 | `store`, `outbound`, `telemetry` |
//! | 1 | `config` |
//! | 0 | `domain` |

pub mod domain;

pub mod config;

pub mod outbound;
pub mod store;
pub mod telemetry;

pub mod audit;
pub mod mlflow;
pub mod policy;
pub mod providers;
pub mod sessions;
pub mod tokens;

pub mod login;
pub mod pipeline;

pub mod web;

pub mod server;

pub mod cli;
