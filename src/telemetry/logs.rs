//! Logs: one line an event on standard error. They never hold a credential, a query or a body.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging for the whole process; a second call changes nothing. `filter` as in `info` or `info,mlgate::login=debug`.
pub fn start_logging(filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would complain on standard error, and panic where that is full as well.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // An error means that logging runs already, as in tests.
    let _ = match format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.try_init(),
    };
}
