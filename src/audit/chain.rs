//! The chain: each event carries the hash of the one before.
