//! The client for an OpenTelemetry collector: one kind of request, and nothing read of its answers.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::provider::{Bounds, reason, unbounded};

/// A collector that is slower is given up on.
const PATIENCE: Duration = Duration::from_secs(5);

pub struct CollectorClient {
    client: reqwest::Client,
    traces: Url,
}

impl CollectorClient {
    /// `endpoint` is the base that `/v1/traces` is below (OTLP/HTTP). `ca_file` replaces the system's roots.
    ///
    /// # Errors
    /// When the roots cannot be read.
    pub fn new(endpoint: &Url, ca_file: Option<&Path>) -> Result<Self, String> {
        let bounds = Bounds {
            total: PATIENCE,
            ..Bounds::default()
        };
        let mut traces = endpoint.clone();
        traces.set_path(&format!("{}/v1/traces", endpoint.path().trim_end_matches('/')));
        Ok(Self {
            client: unbounded(ca_file, bounds)?,
            traces,
        })
    }

    /// # Errors
    /// When the collector did not take it.
    pub async fn send(&self, traces: &Value) -> Result<(), String> {
        let sent = self.client.post(self.traces.clone()).json(traces).send().await;
        match sent {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("the collector answers {}", answer.status())),
            Err(error) => Err(reason(&error)),
        }
    }
}
