//! `[telemetry]`: what the gateway says about itself.

use std::path::PathBuf;

use tracing_subscriber::EnvFilter;
use url::Url;

use super::node::Node;
use super::reader::Section;
use super::{files, value};

#[derive(Clone, Debug)]
pub struct Telemetry {
    /// A filter as tracing writes it: `info`, or `info,mlgate::login=debug`.
    pub log: String,
    pub log_format: LogFormat,
    pub otlp: Option<Otlp>,
}

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    /// The base that `/v1/traces` is below.
    pub endpoint: Url,
    pub ca_file: Option<PathBuf>,
    /// `service.name`.
    pub service: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}

pub(super) fn read(section: Section<'_>) -> Option<Telemetry> {
    let log = section.value("log", filter).unwrap_or_else(|| "info".into());
    let log_format = section.choice("log_format", &[("json", LogFormat::Json), ("text", LogFormat::Text)]);
    let endpoint = section.value("otlp_endpoint", value::web_url);
    let ca_file = section.checked_file("otlp_ca_file", files::check_roots);
    let service = section
        .value("service_name", value::text)
        .unwrap_or_else(|| "mlgate".into());
    section.finish();
    Some(Telemetry {
        log,
        log_format: log_format?,
        otlp: endpoint.map(|endpoint| Otlp {
            endpoint,
            ca_file,
            service,
        }),
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
