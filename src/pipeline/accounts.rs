//! MLflow's own users and roles, kept in step with who is who here: for an upstream with `authorization = "mlflow"`.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use quick_cache::sync::Cache;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use crate::domain::{Identity, Random, Timestamp};
use crate::mlflow::{self, MlflowError};
use crate::outbound::UpstreamClient;
use crate::policy::{Permit, Roles};

use super::{Gate, Stopped, Upstream};

/// People whose accounts are known to be in step.
const COUNT: usize = 10_000;
/// MLflow's lists of users' roles are a few kilobytes.
const ANSWER_LIMIT: usize = 8 << 20;
/// MLflow's roles are of a workspace; without workspaces there is this one.
const WORKSPACE: &str = "default";

/// The built-in role that is a mark on the user in MLflow.
const ADMIN: &str = "admin";

/// What holds for one person, here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    upstream: String,
    /// `provider:user`: one of MLflow's own names, such as its administrator's, can never be meant.
    user: String,
    /// Names of roles, without the administrator's.
    roles: Vec<String>,
    admin: bool,
}

impl Standing {
    fn of(upstream: &str, identity: &Identity, roles: &Roles) -> Self {
        let admin = roles.are_admin();
        let mut names = roles.names();
        names.retain(|name| name != ADMIN);
        Self {
            upstream: upstream.to_owned(),
            user: identity.qualified_user(),
            roles: names,
            admin,
        }
    }

    fn key(&self) -> (String, String) {
        (self.upstream.clone(), self.user.clone())
    }
}

pub(super) struct Accounts {
    kept: Cache<(String, String), Kept>,
    /// Names that the configuration has: what MLflow has besides these is MLflow's business.
    managed: Vec<String>,
    recheck: Duration,
}

#[derive(Clone)]
struct Kept {
    standing: Standing,
    until: Timestamp,
}

impl Accounts {
    pub(super) fn new(managed: Vec<String>, recheck: Duration) -> Self {
        Self {
            kept: Cache::new(COUNT),
            managed: managed.into_iter().filter(|name: &String| name != ADMIN).collect(),
            recheck,
        }
    }

    /// Makes sure that MLflow knows the person, with these roles and no other of the configuration's.
    ///
    /// # Errors
    /// `Upstream` or `Timeout` where MLflow does not do it: then nothing may be asked in that person's name.
    async fn keep(
        &self,
        client: &UpstreamClient,
        standing: Standing,
        random: &dyn Random,
        now: Timestamp,
    ) -> Result<(), MlflowError> {
        let is_current = |kept: &Kept| kept.standing == standing && kept.until > now;
        let key = standing.key();
        if self.kept.get(&key).is_some_and(|kept| is_current(&kept)) {
            return Ok(());
        }
        self.kept.remove_if(&key, |kept| !is_current(kept));
        let synchronize = async {
            Mlflow { client }.synchronize(&standing, &self.managed, random).await?;
            Ok(Kept {
                standing: standing.clone(),
                until: now.plus(self.recheck),
            })
        };
        self.kept.get_or_insert_async(&key, synchronize).await.map(|_| ())
    }
}

impl Gate {
    /// Where MLflow's own roles decide, it must know who asks before it is asked in that person's name, by whatever door.
    pub(super) async fn keep_account(
        &self,
        upstream: &Upstream,
        permit: &Permit<mlflow::Request>,
    ) -> Result<(), Stopped> {
        let Some(caller) = permit.caller().filter(|_| upstream.section.mlflow_roles) else {
            return Ok(());
        };
        let standing = Standing::of(&upstream.name, &caller.identity, permit.roles());
        let (random, now) = (&*self.trail.random, self.trail.clock.now());
        // Boxed: once in `recheck` it asks MLflow several things, and no other request needs its room.
        Box::pin(self.accounts.keep(&upstream.client, standing, random, now)).await?;
        Ok(())
    }
}

/// MLflow's admin API, by the gateway's own account.
struct Mlflow<'a> {
    client: &'a UpstreamClient,
}

impl Mlflow<'_> {
    async fn synchronize(
        &self,
        standing: &Standing,
        managed: &[String],
        random: &dyn Random,
    ) -> Result<(), MlflowError> {
        let user = standing.user.as_str();
        let found = self.get("/api/2.0/mlflow/users/get", &[("username", user)]).await?;
        let is_admin = match found {
            Some(found) => found
                .pointer("/user/is_admin")
                .and_then(Value::as_bool)
                .unwrap_or_default(),
            None => {
                // Nobody knows it: people come in by the gateway alone.
                let password: [u8; 32] = random.bytes();
                let body = json!({"username": user, "password": hex::encode(password)});
                self.change(Method::POST, "/api/2.0/mlflow/users/create", &body).await?;
                false
            }
        };
        if is_admin != standing.admin {
            let body = json!({"username": user, "is_admin": standing.admin});
            self.change(Method::PATCH, "/api/2.0/mlflow/users/update-admin", &body)
                .await?;
        }
        let held = self
            .get("/api/3.0/mlflow/users/roles/list", &[("username", user)])
            .await?;
        let held = roles_in(held.as_ref())?;
        for (name, id) in &held {
            if managed.contains(name) && !standing.roles.contains(name) {
                let body = json!({"username": user, "role_id": id});
                self.change(Method::DELETE, "/api/3.0/mlflow/roles/unassign", &body)
                    .await?;
            }
        }
        if standing
            .roles
            .iter()
            .all(|name| held.iter().any(|(held, _)| held == name))
        {
            return Ok(());
        }
        let known = self
            .get("/api/3.0/mlflow/roles/list", &[("workspace", WORKSPACE)])
            .await?;
        let known = roles_in(known.as_ref())?;
        for name in standing
            .roles
            .iter()
            .filter(|name| !held.iter().any(|(held, _)| held == *name))
        {
            let id = match known.iter().find(|(known, _)| known == name) {
                Some((_, id)) => id.clone(),
                None => self.new_role(name).await?,
            };
            let body = json!({"username": user, "role_id": id});
            self.change(Method::POST, "/api/3.0/mlflow/roles/assign", &body).await?;
        }
        Ok(())
    }

    /// Without any permission: what a role may do in MLflow is said in MLflow.
    async fn new_role(&self, name: &str) -> Result<Value, MlflowError> {
        let body = json!({"name": name, "workspace": WORKSPACE, "description": "Assigned by mlgate."});
        let made = self.change(Method::POST, "/api/3.0/mlflow/roles/create", &body).await?;
        made.pointer("/role/id").cloned().ok_or_else(|| nonsense("a new role"))
    }

    /// `None` where there is no such thing.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Option<Value>, MlflowError> {
        let query = Serializer::new(String::new()).extend_pairs(query).finish();
        let (status, body) = self
            .client
            .fetch(Method::GET, &format!("{path}?{query}"), None, ANSWER_LIMIT)
            .await?;
        match (status, serde_json::from_slice::<Value>(&body).ok()) {
            (StatusCode::OK, Some(found)) => Ok(Some(found)),
            (StatusCode::NOT_FOUND, Some(_)) => Ok(None),
            _ => Err(MlflowError::Upstream(format!(
                "it answered {} to {path}",
                status.as_u16()
            ))),
        }
    }

    async fn change(&self, method: Method, path: &str, body: &Value) -> Result<Value, MlflowError> {
        let body = Some(Bytes::from(body.to_string()));
        let (status, answer) = self.client.fetch(method, path, body, ANSWER_LIMIT).await?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        // Another replica may have been faster.
        let was_done = answer.get("error_code").and_then(Value::as_str) == Some("RESOURCE_ALREADY_EXISTS");
        if status.is_success() || was_done {
            Ok(answer)
        } else {
            Err(MlflowError::Upstream(format!(
                "it answered {} to {path}",
                status.as_u16()
            )))
        }
    }
}

fn nonsense(what: &str) -> MlflowError {
    MlflowError::Upstream(format!("its answer about {what} is not what it should be"))
}

/// Names and ids of the roles in the default workspace.
fn roles_in(answer: Option<&Value>) -> Result<Vec<(String, Value)>, MlflowError> {
    let roles = answer
        .and_then(|answer| answer.get("roles")?.as_array())
        .ok_or_else(|| nonsense("roles"))?;
    Ok(roles
        .iter()
        .filter(|role| role.get("workspace").and_then(Value::as_str) == Some(WORKSPACE))
        .filter_map(|role| Some((role.get("name")?.as_str()?.to_owned(), role.get("id")?.clone())))
        .collect())
}
