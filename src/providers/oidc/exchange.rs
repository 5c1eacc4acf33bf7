//! The questions to the provider's endpoints: where to send the browser, what a code or refresh token is worth, userinfo.

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, StatusCode};
use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreJsonWebKeySet, CoreRequestTokenError,
    CoreTokenResponse,
};
use openidconnect::{
    AccessToken, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, Scope, TokenUrl,
};

use super::super::ProviderError;
use super::checks::{self, Claims};
use super::discovery::Known;
use super::groups::is_entra;
use super::{Memory, failure};
use crate::config::{self, GOOGLE};
use crate::outbound::provider::{ProviderClient, ProviderClientError};

const OFFLINE: &str = "offline_access";

type TokenError = CoreRequestTokenError<ProviderClientError>;
type Client = CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// What userinfo answers.
pub(super) enum Userinfo {
    Claims(Claims),
    /// The access token is not good any more.
    NoMore,
}

pub(super) fn authorize_url(
    config: &config::OidcProvider,
    known: &Known,
    callback: &str,
    memory: &Memory,
    name: Option<&str>,
) -> Result<String, ProviderError> {
    let client = client(config, known)?.set_redirect_uri(redirect(callback)?);
    let verifier = PkceCodeVerifier::new(memory.verifier.clone());
    let (state, nonce) = (memory.state.clone(), memory.nonce.clone());
    let mut request = client
        .authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            move || CsrfToken::new(state),
            move || Nonce::new(nonce),
        )
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
    for scope in &config.scopes {
        // The library asks for openid; Google does not know the other one and has a parameter for it.
        if scope != "openid" && !(config.issuer == GOOGLE && scope == OFFLINE) {
            request = request.add_scope(Scope::new(scope.clone()));
        }
    }
    for (name, value) in further(config, name) {
        request = request.add_extra_param(name, value);
    }
    Ok(request.url().0.into())
}

/// Parameters beyond the protocol's own.
fn further(config: &config::OidcProvider, name: Option<&str>) -> Vec<(&'static str, String)> {
    let google = config.issuer == GOOGLE;
    let mut further = Vec::new();
    if config.scopes.iter().any(|scope| scope == OFFLINE) {
        // Without it there is no refresh token, by the standard; from Entra ID there is one, and people who may not consent for
        // themselves could not go on.
        if !is_entra(&config.issuer) {
            further.push(("prompt", "consent".to_owned()));
        }
        if google {
            further.push(("access_type", "offline".to_owned()));
        }
    }
    if let [domain] = config.hosted_domains.as_slice() {
        // Hints for the provider's account chooser; what counts is in the ID token. Whoever does not know one ignores it.
        further.push((if google { "hd" } else { "domain_hint" }, domain.clone()));
    }
    if let Some(name) = name {
        further.push(("login_hint", name.to_owned()));
    }
    further
}

pub(super) async fn redeem_code(
    config: &config::OidcProvider,
    known: &Known,
    http: &ProviderClient,
    callback: &str,
    code: &str,
    verifier: &str,
) -> Result<CoreTokenResponse, ProviderError> {
    client(config, known)?
        .set_redirect_uri(redirect(callback)?)
        .exchange_code(AuthorizationCode::new(code.to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()))
        .request_async(http)
        .await
        .map_err(failure::of_token)
}

/// `AccountRefused` where the refresh token is worth nothing any more.
pub(super) async fn refresh(
    config: &config::OidcProvider,
    known: &Known,
    http: &ProviderClient,
    token: &str,
) -> Result<CoreTokenResponse, ProviderError> {
    let token = RefreshToken::new(token.to_owned());
    let told = |error: TokenError| match failure::is_invalid_grant(&error) {
        true => ProviderError::AccountRefused("the provider has ended the sign-in".to_owned()),
        false => failure::of_token(error),
    };
    client(config, known)?
        .exchange_refresh_token(&token)
        .request_async(http)
        .await
        .map_err(told)
}

/// Userinfo about that subject and no other.
pub(super) async fn userinfo(
    known: &Known,
    http: &ProviderClient,
    token: &AccessToken,
    subject: &str,
) -> Result<Option<Userinfo>, ProviderError> {
    let Some(endpoint) = known.metadata.userinfo_endpoint() else {
        return Ok(None);
    };
    let refused = |text: &str| ProviderError::Refused(format!("userinfo {text}"));
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.secret()))
        .map_err(|_| refused("cannot be asked with such an access token"))?;
    bearer.set_sensitive(true);
    let request = http::Request::get(endpoint.url().as_str())
        .header(ACCEPT, "application/json")
        .header(AUTHORIZATION, bearer)
        .body(Vec::new())
        .map_err(|_| refused("has no usable address"))?;
    let answer = http.send(request).await.map_err(failure::of_client)?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(Some(Userinfo::NoMore)),
        status => return Err(ProviderError::Unavailable(format!("userinfo answers {status}"))),
    }
    let claims: Claims = serde_json::from_slice(answer.body()).map_err(|_| refused("is no JSON object"))?;
    checks::same_subject(&claims, subject, "userinfo")?;
    Ok(Some(Userinfo::Claims(claims)))
}

fn redirect(callback: &str) -> Result<RedirectUrl, ProviderError> {
    RedirectUrl::new(callback.to_owned()).map_err(|error| ProviderError::BadAttempt(format!("callback: {error}")))
}

fn client(config: &config::OidcProvider, known: &Known) -> Result<Client, ProviderError> {
    let metadata = &known.metadata;
    let auth: &AuthUrl = metadata.authorization_endpoint();
    let token: &TokenUrl = metadata
        .token_endpoint()
        .ok_or_else(|| ProviderError::Refused("the discovery document names no token endpoint".to_owned()))?;
    // Tokens are verified elsewhere, with keys that can be fetched again.
    let client = CoreClient::new(
        ClientId::new(config.client_id.clone()),
        metadata.issuer().clone(),
        CoreJsonWebKeySet::new(Vec::new()),
    )
    .set_auth_uri(auth.clone())
    .set_token_uri(token.clone());
    let Some(secret) = &config.client_secret else {
        return Ok(client.set_auth_type(AuthType::RequestBody));
    };
    let client = client.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
    // RFC 8414: without a list it is Basic.
    let Some(methods) = metadata.token_endpoint_auth_methods_supported() else {
        return Ok(client.set_auth_type(AuthType::BasicAuth));
    };
    if methods.contains(&CoreClientAuthMethod::ClientSecretBasic) {
        Ok(client.set_auth_type(AuthType::BasicAuth))
    } else if methods.contains(&CoreClientAuthMethod::ClientSecretPost) {
        Ok(client.set_auth_type(AuthType::RequestBody))
    } else {
        Err(ProviderError::Refused(
            "the token endpoint takes a client secret neither by Basic nor in the form".to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_is_asked_in_its_own_words() {
        let asked = |issuer: &str, scopes: &[&str], domains: &[&str]| {
            let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let config = config::OidcProvider {
                issuer: issuer.to_owned(),
                ca_file: None,
                client_id: "me".to_owned(),
                client_secret: None,
                scopes: list(scopes),
                user_claim: "email".to_owned(),
                groups_claim: Vec::new(),
                hosted_domains: list(domains),
                google_groups: None,
            };
            let further = further(&config, None);
            let texts: Vec<_> = further.iter().map(|(name, value)| format!("{name}={value}")).collect();
            texts.join("&")
        };
        const ENTRA: &str = "https://login.microsoftonline.com/tenant/v2.0";
        let offline = &["openid", OFFLINE];
        assert_eq!(asked("https://idp.test", &["openid"], &[]), "");
        assert_eq!(
            asked("https://idp.test", offline, &["a.test"]),
            "prompt=consent&domain_hint=a.test"
        );
        assert_eq!(
            asked(GOOGLE, offline, &["a.test"]),
            "prompt=consent&access_type=offline&hd=a.test"
        );
        assert_eq!(asked(GOOGLE, &["openid"], &["a.test", "b.test"]), "");
        assert_eq!(asked(ENTRA, offline, &["a.test"]), "domain_hint=a.test");
    }
}
