//! Finished spans on their way to the collector, in batches.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config::Otlp;
use crate::outbound::CollectorClient;
use crate::telemetry::Metrics;
use crate::telemetry::traces::{Finished, Span, export};

use super::InForce;

/// Of one batch.
const MOST: usize = 512;
/// A batch goes when it is this old.
const PAUSE: Duration = Duration::from_secs(1);

/// Until it is told to stop; then what is there is sent once more.
pub(super) async fn send(
    mut finished: Finished,
    force: InForce,
    mut stopping: oneshot::Receiver<()>,
    metrics: Arc<Metrics>,
) {
    let mut sender = Sender::default();
    let mut batch = Vec::with_capacity(MOST);
    loop {
        let stops = tokio::select! {
            _ = &mut stopping => true,
            () = tokio::time::sleep(PAUSE) => false,
        };
        loop {
            while batch.len() < MOST
                && let Ok(span) = finished.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                break;
            }
            let settings = force.gate.load().config().telemetry.otlp.clone();
            let sent = sender.deliver(settings, &batch).await;
            metrics.spans(if sent { "sent" } else { "dropped" }, batch.len() as u64);
            batch.clear();
            if !sent {
                // Not again at once: who is away now is away for the rest of them too.
                break;
            }
        }
        if stops {
            return;
        }
    }
}

#[derive(Default)]
struct Sender {
    client: Option<(Otlp, CollectorClient)>,
    complained: bool,
}

impl Sender {
    async fn deliver(&mut self, settings: Option<Otlp>, batch: &[Span]) -> bool {
        let Some(settings) = settings else { return false };
        if self.client.as_ref().is_none_or(|(of, _)| *of != settings) {
            match CollectorClient::new(&settings.endpoint, settings.ca_file.as_deref()) {
                Ok(client) => self.client = Some((settings.clone(), client)),
                Err(error) => return self.told(Err(error)),
            }
        }
        let Some((_, client)) = &self.client else { return false };
        let sent = client.send(&export(batch, &settings.service)).await;
        self.told(sent)
    }

    /// Once, until it is well again.
    fn told(&mut self, sent: Result<(), String>) -> bool {
        match &sent {
            Ok(()) if self.complained => tracing::info!("the collector takes traces again"),
            Err(error) if !self.complained => tracing::warn!(error, "traces cannot be sent"),
            Ok(()) | Err(_) => {}
        }
        self.complained = sent.is_err();
        sent.is_ok()
    }
}
