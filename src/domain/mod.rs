//! The words: pure types that every other floor speaks in. No I/O, no framework.

mod access;
mod clock;
mod glob;
mod identity;
mod jwk;
mod random;
mod reason;
mod secret;
mod visible;
#[cfg(feature = "server")]
pub mod xml;

pub use access::{Access, Kind, Marks, Permission, Requires, Resource, Share, Target};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use glob::Glob;
pub use identity::{Caller, Identity, Scope, Via};
pub use jwk::{Algorithm, Jwk, KeySet, PublicKey};
pub use random::{Random, SystemRandom};
pub use reason::{Reason, ReasonCode};
pub use secret::Secret;
pub use visible::visible;
