//! What happened: one event for each act, chained so that a change to the past shows.

mod chain;
mod desk;
mod event;
mod files;
mod search;
mod tidy;
mod verify;
mod writer;

pub use chain::{GENESIS, Link, is_unsafe, seal};
pub use event::{Actor, Author, Event, Http, Outcome, Record, Touched, Why};
pub use files::{lines, with_rotated};
pub use search::{Newest, Wanted, newest, printable};
pub use verify::{Break, BreakKind, Report, verify};
pub use writer::{Audit, AuditError};

#[cfg(test)]
mod tests;
