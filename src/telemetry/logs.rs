//! Logs: one JSON object a line on standard error. They never hold a credential, a query or a body.

use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process; a second call changes nothing. `filter` as in `info` or `mlgate=debug`.
pub fn start_logging(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // An error means that logging runs already, as in tests.
    let _ = lines.try_init();
}
