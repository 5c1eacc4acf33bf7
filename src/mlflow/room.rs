//! Room for bodies that are taken apart to decide: a value in one takes thirty times the bytes that it came in, so what all of them
//! hold at once is bounded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::MlflowError;

/// Values that may be held at once, about 100 bytes each.
const ALL: usize = 4_000_000;
/// What is counted in. Smaller bodies are not.
const UNIT: usize = 4096;
/// How long a body waits for room.
const WAIT: Duration = Duration::from_secs(5);

pub(super) struct Room {
    left: Arc<Semaphore>,
    wait: Duration,
}

/// A place for one body, for as long as anything is kept of it.
#[derive(Clone, Debug)]
pub struct Place(#[expect(dead_code, reason = "what counts is that it is held")] Arc<OwnedSemaphorePermit>);

impl Room {
    pub(super) fn new() -> Self {
        Self {
            left: Arc::new(Semaphore::new(ALL / UNIT)),
            wait: WAIT,
        }
    }

    /// # Errors
    /// `Busy` where others hold too much for too long.
    pub(super) async fn take(&self, values: usize) -> Result<Option<Place>, MlflowError> {
        let units = (values / UNIT).min(ALL / UNIT);
        let Some(units) = u32::try_from(units).ok().filter(|units| *units > 0) else {
            return Ok(None);
        };
        let taking = self.left.clone().acquire_many_owned(units);
        match tokio::time::timeout(self.wait, taking).await {
            Ok(Ok(permit)) => Ok(Some(Place(Arc::new(permit)))),
            Ok(Err(_)) | Err(_) => Err(MlflowError::Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_waits_and_is_turned_away() {
        let room = Room {
            wait: Duration::ZERO,
            ..Room::new()
        };
        assert!(
            room.take(UNIT - 1).await.unwrap().is_none(),
            "small ones are not counted"
        );
        let held = room.take(ALL - UNIT).await.unwrap();
        assert!(room.take(UNIT).await.unwrap().is_some());
        assert!(matches!(room.take(2 * UNIT).await, Err(MlflowError::Busy)));
        drop(held);
        assert!(
            room.take(usize::MAX).await.unwrap().is_some(),
            "the largest takes it all"
        );
    }
}
