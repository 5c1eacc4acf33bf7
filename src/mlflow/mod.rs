//! What an MLflow request asks for: its route, the ids in it, the accesses it needs, and the canonical bytes to send.

use bytes::Bytes;
use thiserror::Error;

use crate::domain::{Access, Requires};

/// A request as it came, before anything is believed of it. Implemented by the pipeline and by `explain`.
#[expect(
    async_fn_in_trait,
    reason = "never used as an object, and payloads stay on their thread"
)]
pub trait Source {
    /// As on the wire, case kept.
    fn method(&self) -> &str;
    /// The raw path, still percent-encoded, after `public_url`'s path was taken off; starts with `/`.
    fn path(&self) -> &str;
    /// The raw query without `?`.
    fn query(&self) -> Option<&str>;
    /// All values of a header, lower-case name.
    fn header(&self, name: &str) -> Vec<&[u8]>;
    /// Who carries it to MLflow, and so how much of it is seen here.
    fn carried(&self) -> Carried {
        Carried::ByUs
    }
    /// The whole body, for routes whose body decides; `TooLarge` past the limit. At most once.
    async fn body(&mut self) -> Result<Bytes, MlflowError>;
    /// How long a body may be, unpacked too.
    fn longest_body(&self) -> usize {
        64 << 20
    }
}

/// Who carries a request to MLflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// The gateway: it sees all, and sends what it decided on.
    ByUs,
    /// An ingress, as it came; its body is seen here.
    Seen,
    /// An ingress, as it came; its body is not seen here.
    Unseen,
}

#[derive(Debug, Error)]
pub enum MlflowError {
    /// 400: not the one spelling, or a value that cannot be.
    #[error("{0}")]
    Malformed(String),
    /// 403: a path or method that the table does not have.
    #[error("this route is not known to the gateway")]
    UnknownRoute,
    /// 413
    #[error("the body is larger than the gateway reads to decide")]
    TooLarge,
    /// The client went away while we read.
    #[error("the client left")]
    ClientLeft,
    /// 408: the body comes more slowly than is waited for.
    #[error("the body came too slowly")]
    TooSlow,
    /// 502: MLflow answered nonsense or an error to a look-up.
    #[error("MLflow failed: {0}")]
    Upstream(String),
    /// 504
    #[error("MLflow did not answer in time")]
    Timeout,
    /// 503: the version is not known yet, so no table holds.
    #[error("MLflow's version is not known yet")]
    NotReady,
    /// 503: other bodies hold all the room that there is.
    #[error("the gateway reads as many large bodies as it can")]
    Busy,
}

/// The canonical request: what was decided on is what is sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub method: http::Method,
    /// Canonical path and query, starting with `/`, without the upstream's own path.
    pub target: String,
    pub body: OutgoingBody,
}

#[derive(Clone, Debug)]
pub enum OutgoingBody {
    Empty,
    Bytes(Bytes),
    /// Passed on as it comes; nothing in it decides.
    Stream,
}

/// A request that was understood: what it does, all that it needs, and what to send.
#[derive(Clone, Debug)]
pub struct Request {
    pub action: &'static str,
    pub accesses: Vec<Access>,
    /// It changes something, and MLflow decides whether it may: the accesses say nothing of it.
    pub changes: bool,
    /// MLflow's own roles decide what of it may be had: the accesses name nothing that it touches.
    pub is_left_to_mlflow: bool,
    /// Named by the client, which needs USE on it.
    pub workspace: Option<String>,
    pub outgoing: Outgoing,
    /// Who answers.
    pub answer: Answer,
    /// The room that its body takes.
    pub place: Option<Place>,
}

/// Who answers a permitted request, and what happens to the answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// MLflow, its answer passed through untouched.
    Forward,
    /// MLflow, its answer cut down to what may be seen.
    Listed(listing::Plan),
    /// The gateway itself: MLflow's account routes, told who is signed in.
    Account(account::Question),
    /// MLflow, with `tracking_auth` in its `server-info` set to `mlgate`.
    ServerInfo,
}

impl Requires for Request {
    fn action(&self) -> &'static str {
        self.action
    }

    fn accesses(&self) -> &[Access] {
        &self.accesses
    }

    fn changes(&self) -> bool {
        self.changes
    }

    fn is_left_to_others(&self) -> bool {
        self.is_left_to_mlflow
    }

    fn workspace(&self) -> Option<&str> {
        self.workspace.as_deref()
    }
}

pub mod account;
mod aliases;
mod attribution;
pub mod canonical;
mod fields;
pub mod graphql;
mod judges;
pub mod listing;
pub mod lookup;
mod marks;
mod resolve;
mod room;
pub mod routes;
mod sharing;
pub mod sources;
mod spans;
mod tags;
mod unseen;
mod upstream;
mod workspace;

pub use room::Place;
pub use sharing::{Shared, Sharing};
pub use upstream::Mlflow;
