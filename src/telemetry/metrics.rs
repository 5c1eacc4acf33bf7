//! Prometheus metrics. Every name stands here, once.

use std::sync::RwLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusRecorder};

const REQUESTS: &str = "mlgate_requests_total";
const REQUEST_SECONDS: &str = "mlgate_request_seconds";
const UPSTREAM_SECONDS: &str = "mlgate_upstream_seconds";
const PROVIDER_SECONDS: &str = "mlgate_provider_seconds";
const LOGINS: &str = "mlgate_logins_total";
const SESSIONS: &str = "mlgate_sessions";
const AUDIT_LAG_SECONDS: &str = "mlgate_audit_lag_seconds";
const CACHE: &str = "mlgate_cache_total";
const RELOADS: &str = "mlgate_reloads_total";
const SPANS: &str = "mlgate_spans_total";
const CONNECTIONS: &str = "mlgate_connections";

/// Seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0,
];

const METADATA: Metadata<'static> = Metadata::new("mlgate", Level::INFO, None);

/// The process's metrics; made once by the server and handed to its parts.
pub struct Metrics {
    recorder: PrometheusRecorder,
    /// A few dozen: looked through faster than hashed.
    requests: RwLock<Vec<((&'static str, &'static str), Requests)>>,
    upstream: Histogram,
    sessions: Gauge,
    connections: Gauge,
    audit_lag: Histogram,
}

#[derive(Clone)]
struct Requests {
    count: Counter,
    seconds: Histogram,
}

impl Metrics {
    /// # Errors
    /// When the buckets are none, which they are not.
    pub fn new() -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS)?.build_recorder();
        let (upstream, sessions) = (histogram(&recorder, UPSTREAM_SECONDS, &[]), gauge(&recorder, SESSIONS));
        let (connections, audit_lag) = (
            gauge(&recorder, CONNECTIONS),
            histogram(&recorder, AUDIT_LAG_SECONDS, &[]),
        );
        Ok(Self {
            recorder,
            requests: RwLock::default(),
            upstream,
            sessions,
            connections,
            audit_lag,
        })
    }

    /// A request by the noun of its action (`experiment`, `none` before one was known) and its outcome.
    pub fn request(&self, class: &'static str, outcome: &'static str, took: Duration) {
        let known = self.requests.read().ok().and_then(|requests| {
            let (_, handles) = requests.iter().find(|(known, _)| *known == (class, outcome))?;
            Some(handles.clone())
        });
        let handles = known.unwrap_or_else(|| {
            let labels = [("class", class), ("outcome", outcome)];
            let handles = Requests {
                count: counter(&self.recorder, REQUESTS, &labels),
                seconds: histogram(&self.recorder, REQUEST_SECONDS, &labels),
            };
            if let Ok(mut requests) = self.requests.write() {
                requests.push(((class, outcome), handles.clone()));
            }
            handles
        });
        handles.count.increment(1);
        handles.seconds.record(took);
    }

    /// Until MLflow's first byte.
    pub fn upstream(&self, took: Duration) {
        self.upstream.record(took);
    }

    pub fn provider(&self, provider: &str, took: Duration) {
        histogram(&self.recorder, PROVIDER_SECONDS, &[("provider", provider)]).record(took);
    }

    /// `outcome` is `allowed`, `refused` or `failed`.
    pub fn login(&self, provider: &str, outcome: &'static str) {
        counter(&self.recorder, LOGINS, &[("provider", provider), ("outcome", outcome)]).increment(1);
    }

    pub fn sessions(&self, count: usize) {
        self.sessions.set(count as f64);
    }

    pub fn connections(&self, count: usize) {
        self.connections.set(count as f64);
    }

    /// From the act to its event being written.
    pub fn audit_lag(&self, took: Duration) {
        self.audit_lag.record(took);
    }

    /// What an upstream's caches have seen since the start.
    pub fn cache(&self, upstream: &str, cache: &'static str, hits: u64, misses: u64) {
        for (result, count) in [("hit", hits), ("miss", misses)] {
            let labels = [("upstream", upstream), ("cache", cache), ("result", result)];
            counter(&self.recorder, CACHE, &labels).absolute(count);
        }
    }

    /// `outcome` is `taken_over` or `refused`.
    pub fn reload(&self, outcome: &'static str) {
        counter(&self.recorder, RELOADS, &[("outcome", outcome)]).increment(1);
    }

    /// `outcome` is `sent` or `dropped`.
    pub fn spans(&self, outcome: &'static str, count: u64) {
        counter(&self.recorder, SPANS, &[("outcome", outcome)]).increment(count);
    }

    /// The text that Prometheus reads.
    pub fn render(&self) -> String {
        self.recorder.handle().render()
    }

    /// Folds what was measured into its buckets; without it, samples pile up where nobody scrapes. To be called every few seconds.
    pub fn tidy(&self) {
        self.recorder.handle().run_upkeep();
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> = labels
        .iter()
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect();
    Key::from_parts(name, labels)
}

fn counter(recorder: &PrometheusRecorder, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
    recorder.register_counter(&key(name, labels), &METADATA)
}

fn gauge(recorder: &PrometheusRecorder, name: &'static str) -> Gauge {
    recorder.register_gauge(&key(name, &[]), &METADATA)
}

fn histogram(recorder: &PrometheusRecorder, name: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
    recorder.register_histogram(&key(name, labels), &METADATA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_class_and_outcome() {
        let metrics = Metrics::new().unwrap();
        for _ in 0..2 {
            metrics.request("run", "allowed", Duration::from_millis(3));
        }
        metrics.tidy();
        let text = metrics.render();
        assert!(
            text.contains(r#"mlgate_requests_total{class="run",outcome="allowed"} 2"#),
            "{text}"
        );
        assert!(
            text.contains(r#"mlgate_request_seconds_bucket{class="run",outcome="allowed",le="0.005"} 2"#),
            "{text}"
        );
    }
}
