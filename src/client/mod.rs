//! What the commands for MLflow's users stand on: signing in at a gateway from a terminal, and a fresh token afterwards.
//!
//! RFC 6749, 7636 (PKCE), 8252 (loopback), 8628 (device), 7009 (revocation), 8414 (metadata), 9207 (`iss`).
//! The file that all processes and the Python package share is described in `docs/credentials.md`.

use std::io;

use thiserror::Error;

mod account;
pub mod browser;
mod credentials;
mod device;
mod environment;
mod fresh;
mod gateway_url;
mod grant;
mod http;
mod lock;
mod loopback;
mod metadata;
mod pkce;
pub mod plugin;
mod session;
#[cfg(test)]
mod stand_in;

pub use account::Account;
pub use device::DeviceSignIn;
pub use environment::Environment;
pub use gateway_url::GatewayUrl;
pub use loopback::LoopbackSignIn;
pub use session::{Client, Ended};

/// The public client that every gateway knows.
const CLIENT_ID: &str = "mlgate-cli";

/// Why a command did not do what it was asked; the text is for the person at the terminal, and holds no secret.
#[derive(Debug, Error)]
pub enum Failure {
    #[error("{0}")]
    Failed(String),
    /// The gateway or the person said no.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    NotSignedIn(String),
    #[error("{0}")]
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    fn not_signed_in(url: &GatewayUrl) -> Self {
        Self::NotSignedIn(format!("not signed in to {url}; sign in with: mlgate login {url}"))
    }
}
