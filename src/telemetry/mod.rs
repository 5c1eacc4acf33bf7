//! What we measure and write down about ourselves: logs, request ids, metrics.

mod logs;
mod metrics;
mod request_id;
pub mod traces;

pub use logs::start_logging;
pub use metrics::Metrics;
pub use request_id::RequestId;
