//! Whether a request that was only typed would pass, and why: for operators.

use bytes::Bytes;

use crate::domain::{Caller, Reason, ReasonCode};
use crate::mlflow::{Mlflow, MlflowError, Source};
use crate::policy::{Explanation, Policy};

use super::Gate;

/// A request that was typed.
#[derive(Clone, Debug)]
pub struct Typed {
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    /// Lower-case names.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
}

impl Typed {
    /// Path and query in one, as MLflow knows them.
    pub fn new(method: &str, path: &str) -> Self {
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(path, query)| (path, Some(query)));
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }
}

impl Source for Typed {
    fn method(&self) -> &str {
        &self.method
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    fn header(&self, name: &str) -> Vec<&[u8]> {
        self.headers
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.as_slice())
            .collect()
    }

    async fn body(&mut self) -> Result<Bytes, MlflowError> {
        Ok(self.body.clone())
    }
}

/// The decision on a typed request and what it was taken by; the action where there is one.
///
/// # Errors
/// When MLflow cannot be asked for what the request names.
pub async fn explained(
    mlflow: &Mlflow,
    policy: &Policy,
    upstream: &str,
    caller: &Caller,
    mut typed: Typed,
) -> Result<(Option<&'static str>, Explanation), MlflowError> {
    let refused = |code, text: String| Explanation {
        allowed: false,
        reason: Reason::new(code, text),
        roles: policy.roles_of(&caller.identity, upstream).names(),
        accesses: Vec::new(),
    };
    match mlflow.request(&mut typed, Some(&caller.identity), &|_| true).await {
        Ok(request) => Ok((Some(request.action), policy.explain(Some(caller), upstream, &request))),
        Err(error @ MlflowError::UnknownRoute) => Ok((None, refused(ReasonCode::UnknownRoute, error.to_string()))),
        Err(MlflowError::Malformed(text)) => Ok((None, refused(ReasonCode::Malformed, text))),
        Err(error) => Err(error),
    }
}

impl Gate {
    /// The same, by what is in force; `None` where there is no such upstream.
    ///
    /// # Errors
    /// When MLflow cannot be asked for what the request names.
    pub async fn explain(
        &self,
        upstream: &str,
        caller: &Caller,
        typed: Typed,
    ) -> Option<Result<(Option<&'static str>, Explanation), MlflowError>> {
        let upstream = self.upstreams.iter().find(|known| *known.name == *upstream)?;
        Some(explained(&upstream.mlflow, &self.policy, &upstream.name, caller, typed).await)
    }
}
