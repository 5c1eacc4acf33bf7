//! From the ids in a request to the names that grants speak of, asked of the upstream and remembered for a while.

use std::sync::Arc;

use crate::domain::{Clock, Kind};
use crate::outbound::UpstreamClient;

use super::MlflowError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentRef {
    pub id: String,
    pub name: String,
}

/// A registered model or a prompt: MLflow keeps both in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    pub name: String,
    pub prompt: bool,
}

impl ModelRef {
    pub fn kind(&self) -> Kind {
        if self.prompt {
            Kind::Prompt
        } else {
            Kind::RegisteredModel
        }
    }
}

/// What belongs to exactly one experiment for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Child {
    Run,
    Trace,
    LoggedModel,
    Issue,
    ReviewQueue,
    LabelSchema,
    PromptOptimizationJob,
}

/// The look-ups of one upstream.
#[derive(Debug)]
pub struct Lookup {}

impl Lookup {
    pub fn new(client: Arc<UpstreamClient>, clock: Arc<dyn Clock>) -> Self {
        let _ = (client, clock);
        todo!()
    }

    /// `None` where the upstream has no such experiment; deleted ones are found.
    pub async fn experiment(&self, id: &str) -> Result<Option<Arc<ExperimentRef>>, MlflowError> {
        let _ = id;
        todo!()
    }

    pub async fn experiment_named(&self, name: &str) -> Result<Option<Arc<ExperimentRef>>, MlflowError> {
        let _ = name;
        todo!()
    }

    pub async fn experiment_of(&self, child: Child, id: &str) -> Result<Option<Arc<ExperimentRef>>, MlflowError> {
        let _ = (child, id);
        todo!()
    }

    /// The experiments that an evaluation dataset is linked to; empty where there is none or no such dataset.
    pub async fn experiments_of_dataset(&self, id: &str) -> Result<Vec<Arc<ExperimentRef>>, MlflowError> {
        let _ = id;
        todo!()
    }

    pub async fn model(&self, name: &str) -> Result<Option<Arc<ModelRef>>, MlflowError> {
        let _ = name;
        todo!()
    }

    /// The run that a version says it came from; `None` where there is no such version or it names none.
    pub async fn model_version_run(&self, name: &str, version: &str) -> Result<Option<String>, MlflowError> {
        let _ = (name, version);
        todo!()
    }

    /// Where a run's artifacts are: the prefix that its own files have.
    pub async fn run_artifact_uri(&self, run_id: &str) -> Result<Option<String>, MlflowError> {
        let _ = run_id;
        todo!()
    }

    /// `(id, name)` of a gateway secret, endpoint or model definition.
    pub async fn gateway_object(&self, kind: Kind, id: &str) -> Result<Option<(String, String)>, MlflowError> {
        let _ = (kind, id);
        todo!()
    }

    /// `(id, name)` of a gateway endpoint.
    pub async fn gateway_endpoint_named(&self, name: &str) -> Result<Option<(String, String)>, MlflowError> {
        let _ = name;
        todo!()
    }

    /// An answer that passed by told where a child belongs.
    pub fn learn_child(&self, child: Child, id: &str, experiment_id: &str) {
        let _ = (child, id, experiment_id);
    }

    /// A rename, delete or restore passed by.
    pub fn forget_experiment(&self, id: &str) {
        let _ = id;
    }

    /// A rename, delete or tag passed by.
    pub fn forget_model(&self, name: &str) {
        let _ = name;
    }

    /// An update or delete of a gateway object passed by.
    pub fn forget_gateway_object(&self, kind: Kind, id: &str) {
        let _ = (kind, id);
    }
}
