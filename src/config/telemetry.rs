//! `[telemetry]`: what the gateway says about itself.

use tracing_subscriber::EnvFilter;

use super::node::Node;
use super::reader::Section;
use super::value;

#[derive(Clone, Debug)]
pub struct Telemetry {
    /// A filter as tracing writes it: `info`, or `info,mlgate::login=debug`.
    pub log: String,
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}

pub(super) fn read(section: Section<'_>) -> Option<Telemetry> {
    let log = section.value("log", filter).unwrap_or_else(|| "info".into());
    let log_format = section.choice("log_format", &[("json", LogFormat::Json), ("text", LogFormat::Text)]);
    section.finish();
    Some(Telemetry {
        log,
        log_format: log_format?,
    })
}

fn filter(node: &Node) -> Result<String, String> {
    let text = value::text(node)?;
    match EnvFilter::builder().parse(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(format!(
            "must be a level (error, warn, info, debug, trace) or a filter such as \"info,mlgate::login=debug\": {error}"
        )),
    }
}
