//! GraphQL documents: what the known root fields ask for. Everything else is refused.

use std::sync::Arc;

use crate::domain::Access;

use super::lookup::Lookup;
use super::{MlflowError, listing};

/// What a GraphQL request needs, and how its answer is cut.
pub async fn accesses(lookup: &Arc<Lookup>, body: &[u8]) -> Result<(Vec<Access>, Option<listing::Plan>), MlflowError> {
    let _ = (lookup, body);
    todo!()
}
