//! The store in this process: for one replica, and for tests.
