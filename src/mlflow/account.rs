//! MLflow's account routes, answered by the gateway (`users/current` and those beside it).

use bytes::Bytes;
use serde_json::{Value, json};

use crate::domain::Identity;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    CurrentUser,
    CurrentPermissions,
    CurrentRoles,
}

/// The answer in MLflow's own shape, so that its screens tell who is signed in.
pub fn answer(question: Question, identity: &Identity, roles: &[String], is_admin: bool) -> Bytes {
    let roles = || roles.iter().enumerate().map(|(index, name)| (index + 1, name));
    let body = match question {
        // Not basic auth: else MLflow's page offers to change the password and to log out by itself.
        Question::CurrentUser => json!({
            "user": {"id": 1, "username": identity.user, "is_admin": is_admin},
            "is_basic_auth": false,
        }),
        // Grants by pattern are no rows of MLflow's tables: only the roles' names can be told.
        Question::CurrentPermissions => json!({"is_admin": is_admin, "permissions": []}),
        Question::CurrentRoles => json!({
            "roles": roles()
                .map(|(id, name)| json!({"id": id, "name": name, "workspace": "default", "permissions": []}))
                .collect::<Vec<_>>(),
        }),
    };
    body.to_string().into()
}

/// A `server-info` that names the gateway's plugin, so that MLflow's code snippets do too. `None` where it is no JSON object.
pub fn with_tracking_auth(server_info: &[u8]) -> Option<Bytes> {
    let mut info: Value = serde_json::from_slice(server_info).ok()?;
    info.as_object_mut()?
        .insert("tracking_auth".to_owned(), "mlgate".into());
    Some(info.to_string().into())
}
