//! What operators do to sessions and tokens, as JSON: for their commands by the admin socket, and for admins by the web.

mod acts;

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, Json, JsonConfig, Path, PathConfig, Query, QueryConfig, ServiceConfig};
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError};
use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::audit::{Actor, Audit, AuditError};
use crate::config::OnAuditFailure;
use crate::domain::{Clock, Identity, Random, Timestamp, Via};
use crate::providers::ProviderError;
use crate::sessions::{Session, SessionError, Sessions};
use crate::tokens::{Token, TokenError, Tokens};

/// Where the API is on the admin socket and on the web.
pub const PREFIX: &str = "/auth/admin/api";
const BODY_LIMIT: usize = 16 << 10;

/// Asks a provider about a user who is not there, to make a token for them.
#[async_trait]
pub trait Directory: Send + Sync {
    /// # Errors
    /// `AccountRefused` for a user that the provider does not know or let in, or a provider that cannot be asked.
    async fn identity(&self, provider: &str, user: &str) -> Result<Identity, ProviderError>;
}

/// What the handlers work with; app data of the server that mounts them.
pub struct AdminParts {
    pub sessions: Arc<Sessions>,
    pub tokens: Arc<Tokens>,
    pub directory: Arc<dyn Directory>,
    pub audit: Arc<Audit>,
    pub on_audit_failure: OnAuditFailure,
    pub personal_max_lifetime: Duration,
    /// What became of the last reload; nothing since the start.
    pub last_reload: Arc<ArcSwapOption<Reloaded>>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

/// A reload of the configuration.
#[derive(Clone, Debug)]
pub struct Reloaded {
    pub at: Timestamp,
    /// Why the old one stays in force.
    pub problem: Option<String>,
}

/// Who acts. Put into the request by what lets it in (the socket's own middleware; on the web, a check that the caller
/// holds the admin role); without it every handler refuses.
#[derive(Clone)]
pub struct Acting(pub Actor);

impl FromRequest for Acting {
    type Error = AdminError;
    type Future = Ready<Result<Self, AdminError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(request.extensions().get::<Self>().cloned().ok_or(AdminError::NotAdmin))
    }
}

/// Mounts the API for the unix socket: whoever may open it (mode 0600) is the operator.
/// Needs `Data<ArcSwap<AdminParts>>` as app data.
pub fn configure(config: &mut ServiceConfig) {
    config.service(web::scope(PREFIX).wrap(from_fn(as_operator)).configure(routes));
}

/// The routes alone, for a scope at `PREFIX` that puts `Acting` into the request itself.
pub fn routes(config: &mut ServiceConfig) {
    config
        .app_data(
            JsonConfig::default()
                .limit(BODY_LIMIT)
                .error_handler(|error, _| bad(error)),
        )
        .app_data(QueryConfig::default().error_handler(|error, _| bad(error)))
        .app_data(PathConfig::default().error_handler(|error, _| bad(error)))
        .route("/sessions", web::get().to(list_sessions))
        .route("/sessions", web::delete().to(revoke_sessions_of))
        .route("/sessions/{id}", web::delete().to(revoke_session))
        .route("/tokens", web::get().to(list_tokens))
        .route("/tokens", web::post().to(create_token))
        .route("/tokens/{id}", web::delete().to(revoke_token));
}

async fn as_operator(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let actor = Actor {
        via: Some(Via::AdminSocket.as_str().to_owned()),
        ..Actor::default()
    };
    request.extensions_mut().insert(Acting(actor));
    next.call(request).await
}

fn bad(error: impl std::fmt::Display) -> Error {
    AdminError::Malformed(error.to_string()).into()
}

#[derive(Debug, Error)]
pub enum AdminError {
    #[error("this is for admins")]
    NotAdmin,
    #[error("{0}")]
    Malformed(String),
    #[error("there is no such {0}; it may have ended already")]
    Missing(&'static str),
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Unavailable(String),
}

impl ResponseError for AdminError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotAdmin | Self::Refused(_) => StatusCode::FORBIDDEN,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Missing(_) => StatusCode::NOT_FOUND,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let code = match self {
            Self::NotAdmin | Self::Refused(_) => "PERMISSION_DENIED",
            Self::Malformed(_) => "INVALID_PARAMETER_VALUE",
            Self::Missing(_) => "RESOURCE_DOES_NOT_EXIST",
            Self::Unavailable(_) => "TEMPORARILY_UNAVAILABLE",
        };
        HttpResponse::build(self.status_code())
            .insert_header(("Cache-Control", "no-store"))
            .json(serde_json::json!({ "error_code": code, "message": self.to_string() }))
    }
}

impl From<SessionError> for AdminError {
    fn from(error: SessionError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<TokenError> for AdminError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Unavailable => Self::Unavailable(error.to_string()),
            TokenError::Invalid(text) => Self::Malformed(text),
        }
    }
}

impl From<AuditError> for AdminError {
    fn from(error: AuditError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<ProviderError> for AdminError {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Unavailable(_) => Self::Unavailable(error.to_string()),
            ProviderError::BadPassword
            | ProviderError::AccountRefused(_)
            | ProviderError::Refused(_)
            | ProviderError::BadAttempt(_) => Self::Refused(error.to_string()),
        }
    }
}

/// Whose; a provider alone means nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    pub(super) user: Option<String>,
    pub(super) provider: Option<String>,
}

impl Whose {
    /// Provider and user where both are given: then the index knows.
    fn exactly(&self) -> Option<(&str, &str)> {
        self.provider.as_deref().zip(self.user.as_deref())
    }

    fn fits(&self, identity: &Identity) -> bool {
        self.user.as_ref().is_none_or(|user| *user == identity.user)
            && self
                .provider
                .as_ref()
                .is_none_or(|provider| *provider == identity.provider)
    }
}

/// A session in a list; times are RFC 3339.
#[derive(Serialize)]
struct SessionLine {
    id: String,
    user: String,
    provider: String,
    created: String,
    expires: String,
    last_seen: String,
    address: String,
}

impl From<Session> for SessionLine {
    fn from(session: Session) -> Self {
        Self {
            id: session.id,
            user: session.identity.user.clone(),
            provider: session.identity.provider.clone(),
            created: session.created.rfc3339(),
            expires: session.expires.rfc3339(),
            last_seen: session.last_seen.rfc3339(),
            address: session.address.to_string(),
        }
    }
}

/// A token in a list; times are RFC 3339.
#[derive(Serialize)]
struct TokenLine {
    id: String,
    user: String,
    provider: String,
    created: String,
    expires: String,
    name: String,
    last_used: Option<String>,
    read_only: bool,
    /// Names of experiments that it is limited to.
    #[serde(skip_serializing_if = "Option::is_none")]
    experiments: Option<Arc<[String]>>,
    /// Of a sign-in of a terminal or service.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

impl From<Token> for TokenLine {
    fn from(token: Token) -> Self {
        Self {
            id: token.id,
            user: token.identity.user.clone(),
            provider: token.identity.provider.clone(),
            created: token.created.rfc3339(),
            expires: token.expires.rfc3339(),
            name: token.name,
            last_used: token.last_used.map(|used| used.rfc3339()),
            read_only: token.scope.read_only,
            experiments: token.scope.experiments,
            address: token.family.as_ref().map(|family| family.address.to_string()),
            client: token.family.map(|family| family.client),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    pub(super) user: String,
    pub(super) provider: String,
    pub(super) name: String,
    pub(super) lifetime_seconds: u64,
    #[serde(default)]
    pub(super) read_only: bool,
}

/// The parts of the configuration that is in force.
struct Parts(Arc<AdminParts>);

impl std::ops::Deref for Parts {
    type Target = AdminParts;

    fn deref(&self) -> &AdminParts {
        &self.0
    }
}

impl FromRequest for Parts {
    type Error = AdminError;
    type Future = Ready<Result<Self, AdminError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let parts = request
            .app_data::<Data<ArcSwap<AdminParts>>>()
            .map(|parts| Self(parts.load_full()));
        ready(parts.ok_or(AdminError::NotAdmin))
    }
}

async fn list_sessions(_: Acting, parts: Parts, whose: Query<Whose>) -> Result<HttpResponse, AdminError> {
    Ok(lines::<SessionLine, _>(parts.sessions_of(&whose).await?))
}

async fn list_tokens(_: Acting, parts: Parts, whose: Query<Whose>) -> Result<HttpResponse, AdminError> {
    Ok(lines::<TokenLine, _>(parts.tokens_of(&whose).await?))
}

async fn revoke_session(acting: Acting, parts: Parts, id: Path<String>) -> Result<HttpResponse, AdminError> {
    Ok(lines::<SessionLine, _>([parts.end_session(&acting, &id).await?]))
}

async fn revoke_sessions_of(acting: Acting, parts: Parts, whose: Query<Whose>) -> Result<HttpResponse, AdminError> {
    Ok(lines::<SessionLine, _>(parts.end_sessions_of(&acting, &whose).await?))
}

async fn revoke_token(acting: Acting, parts: Parts, id: Path<String>) -> Result<HttpResponse, AdminError> {
    Ok(lines::<TokenLine, _>([parts.revoke_token(&acting, &id).await?]))
}

async fn create_token(acting: Acting, parts: Parts, wanted: Json<NewToken>) -> Result<HttpResponse, AdminError> {
    let (secret, token) = parts.make_token(&acting, &wanted).await?;
    let answer = serde_json::json!({ "token": secret.expose(), "id": token.id, "expires": token.expires.rfc3339() });
    Ok(HttpResponse::Created()
        .insert_header(("Cache-Control", "no-store"))
        .json(answer))
}

fn lines<L: Serialize, T: Into<L>>(items: impl IntoIterator<Item = T>) -> HttpResponse {
    let lines: Vec<L> = items.into_iter().map(Into::into).collect();
    HttpResponse::Ok()
        .insert_header(("Cache-Control", "no-store"))
        .json(lines)
}

#[cfg(test)]
mod tests;
