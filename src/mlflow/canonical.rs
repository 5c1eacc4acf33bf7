//! One spelling of path, query and body.
