//! `/auth/oauth2/token`, `/revoke` and `/introspect`: for programs, by form, with JSON.

use actix_web::{HttpResponse, web};
use arc_swap::ArcSwap;
use serde_json::{Value, json};

use crate::login::oauth2::{OauthError, Parameters, scope_of};
use crate::pipeline::{Gate, Stopped};
use crate::tokens::Token;
use crate::web::device;
use crate::web::front::{Here, form};

use super::refused;

type Body = Result<web::Bytes, actix_web::Error>;
type TheGate = web::Data<ArcSwap<Gate>>;

/// What every endpoint here reads first.
fn read(here: &Here, body: Body) -> Result<Parameters, OauthError> {
    let bad = |text: &str| OauthError::InvalidRequest(text.to_owned());
    let body = body.map_err(|_| bad("the form is too large, or broke off"))?;
    let fields =
        form(here.headers(), &body).ok_or_else(|| bad("the content type must be application/x-www-form-urlencoded"))?;
    Parameters::new(fields.as_slice())
}

/// Two of them are none.
fn authorization(here: &Here) -> Result<Option<&[u8]>, OauthError> {
    match here.authorization() {
        Some(None) => Err(OauthError::InvalidClient),
        shown => Ok(shown.flatten()),
    }
}

pub(super) async fn token(here: Here, gate: TheGate, body: Body) -> HttpResponse {
    let answered = async {
        let parameters = read(&here, body)?;
        let oauth = here.login().oauth();
        if let Some(text) = parameters.get("refresh_token")
            && let Some(family) = oauth.held(text).await?
        {
            // Who has left since gets no new token.
            gate.load_full().recheck(&family).await;
        }
        oauth.token(&parameters, authorization(&here)?, here.visitor()).await
    };
    match answered.await {
        Ok(answer) => {
            let mut told = json!({
                "access_token": answer.access.expose(),
                "token_type": "Bearer",
                "expires_in": answer.expires_in,
                "scope": answer.scope,
            });
            if let Some(kind) = answer.issued_token_type {
                told["issued_token_type"] = kind.into();
            }
            if let Some(refresh) = answer.refresh {
                told["refresh_token"] = refresh.expose().into();
            }
            no_store(told)
        }
        Err(error) => refused(&error),
    }
}

/// RFC 8628, 3.2.
pub(super) async fn device_authorization(here: Here, body: Body) -> HttpResponse {
    let oauth = here.login().oauth();
    let begun = async {
        let parameters = read(&here, body)?;
        oauth
            .begin_device(&parameters, authorization(&here)?, here.visitor())
            .await
    };
    match begun.await {
        Ok(begun) => {
            let uri = format!("{}{}", oauth.issuer(), device::PATH);
            no_store(json!({
                "device_code": begun.device_code,
                "user_code": begun.user_code,
                "verification_uri_complete": format!("{uri}?user_code={}", begun.user_code),
                "verification_uri": uri,
                "expires_in": begun.expires_in,
                "interval": begun.interval,
            }))
        }
        Err(error) => refused(&error),
    }
}

pub(super) async fn revoke(here: Here, body: Body) -> HttpResponse {
    let answered = async {
        let parameters = read(&here, body)?;
        let oauth = here.login().oauth();
        oauth.revoke(&parameters, authorization(&here)?, here.visitor()).await
    };
    match answered.await {
        Ok(()) => HttpResponse::Ok().insert_header(("cache-control", "no-store")).finish(),
        Err(error) => refused(&error),
    }
}

pub(super) async fn introspect(here: Here, gate: TheGate, body: Body) -> HttpResponse {
    let gate = gate.load_full();
    let answered = async {
        let parameters = read(&here, body)?;
        may_introspect(&here, &gate, &parameters).await?;
        let text = parameters.required("token")?;
        let oauth = here.login().oauth();
        let Some(token) = oauth.held(text).await? else {
            return Ok(json!({"active": false}));
        };
        gate.recheck(&token).await;
        // What the provider said just now counts.
        Ok(oauth
            .held(text)
            .await?
            .map_or_else(|| json!({"active": false}), |token| described(oauth.issuer(), &token)))
    };
    match answered.await {
        Ok(told) => no_store(told),
        Err(error) => refused(&error),
    }
}

/// A client that was given the right, or an admin's token.
async fn may_introspect(here: &Here, gate: &Gate, parameters: &Parameters) -> Result<(), OauthError> {
    let shown = authorization(here)?;
    let is_bearer = shown.is_some_and(|value| value.len() > 7 && value[..7].eq_ignore_ascii_case(b"bearer "));
    let (Some(value), true) = (shown, is_bearer) else {
        let oauth = here.login().oauth();
        return oauth.introspector(parameters, shown, here.visitor()).await;
    };
    let (caller, _) = gate
        .by_header(value, here.visitor().address)
        .await
        .map_err(|stopped| match stopped {
            Stopped::StoreAway | Stopped::ProviderAway => OauthError::Unavailable,
            _ => OauthError::InvalidClient,
        })?;
    match gate.is_admin(&caller) {
        true => Ok(()),
        false => Err(OauthError::UnauthorizedClient),
    }
}

/// RFC 7662, 2.2.
fn described(issuer: &str, token: &Token) -> Value {
    let identity = &token.identity;
    let mut told = json!({
        "active": true,
        "scope": scope_of(token),
        "username": identity.user,
        "sub": format!("{}:{}", identity.provider, identity.subject),
        "iss": issuer,
        "iat": token.created.seconds(),
        "exp": token.expires.seconds(),
        "token_type": "Bearer",
        "provider": identity.provider,
        "groups": identity.groups,
        "jti": token.id,
    });
    if let Some(family) = &token.family {
        told["client_id"] = family.client.as_str().into();
    }
    told
}

fn no_store(told: Value) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("cache-control", "no-store"))
        .insert_header(("pragma", "no-cache"))
        .insert_header(("x-content-type-options", "nosniff"))
        .json(told)
}
