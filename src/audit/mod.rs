//! What happened: one event for each act, chained so that a change to the past shows.

pub mod chain;
pub mod event;
