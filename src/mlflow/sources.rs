//! Storage that a client names: what one must hold to point MLflow at it.

use crate::domain::{Access, Permission};

use super::MlflowError;
use super::lookup::Lookup;

/// `experiments/create.artifact_location`: within `roots`, or for those who run the server.
pub fn of_location(roots: &[String], uri: &str) -> Vec<Access> {
    let _ = (roots, uri);
    todo!()
}

/// `model-versions/create.source`, with the `run_id` that the request names beside it.
pub async fn of_source(
    lookup: &Lookup,
    roots: &[String],
    uri: &str,
    run_id: Option<&str>,
) -> Result<Vec<Access>, MlflowError> {
    let _ = (lookup, roots, uri, run_id);
    todo!()
}

/// A path of the artifact proxy, decoded once, without a leading slash; empty for the root.
pub async fn of_artifact_path(lookup: &Lookup, path: &str, permission: Permission) -> Result<Vec<Access>, MlflowError> {
    let _ = (lookup, path, permission);
    todo!()
}
