//! The store in Redis, shared by all replicas.
