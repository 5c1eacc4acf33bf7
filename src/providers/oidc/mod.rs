//! Sign-in by OpenID Connect: authorization code with PKCE, state and nonce, always; every answer checked before it is believed.

mod checks;
mod claims;
mod discovery;
mod exchange;
mod failure;
mod groups;
mod id_token;
mod logout_token;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreIdToken, CoreTokenResponse};
use openidconnect::{AccessToken, OAuth2TokenResponse, TokenResponse};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use super::{Departure, Ended, ProviderError, RedirectProvider, Vouched};
use crate::config;
use crate::domain::{Clock, Identity, Random, Secret, Timestamp};
use crate::outbound::provider::{Bounds, ProviderClient, is_plain_loopback};

use checks::Claims;
use claims::{Person, Sources};
use discovery::{Discovery, Known};
use exchange::Userinfo;
use groups::{Google, Graph};
use id_token::{Expected, Invalid};

pub use groups::Places;

/// Refresh tokens that were rotated here and whose successor may not have reached the session.
const ROTATED: usize = 4096;

/// Of one sign-in attempt; secret until it is over.
#[derive(Serialize, Deserialize)]
struct Memory {
    state: String,
    nonce: String,
    verifier: String,
}

/// What a session keeps for the recheck and the logout. See `docs/decisions/oidc-recheck.md`.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    refresh_token: Option<String>,
    access_token: String,
    /// The last ID token, for the claims that userinfo does not repeat and as a hint at logout.
    id_token: String,
    /// The provider's own session, where it says so.
    sid: Option<String>,
}

/// One issuer that people sign in with.
pub struct Oidc {
    id: String,
    config: config::OidcProvider,
    http: Arc<ProviderClient>,
    discovery: Discovery,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// By the hash of the refresh token that was used up.
    rotated: Cache<[u8; 32], Kept>,
    google: Option<Google>,
    graph: Option<Graph>,
}

/// What a provider works with besides its configuration.
#[derive(Clone)]
pub struct OidcParts {
    /// `session.recheck`: groups that are asked for elsewhere are kept for a tenth of it, so that whoever leaves one is noticed in
    /// time.
    pub recheck: Duration,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    /// For each request to the provider.
    pub bounds: Bounds,
    pub places: Places,
}

impl Oidc {
    /// Asks nobody yet: the gateway starts when the provider is away.
    ///
    /// # Errors
    /// When the CA file cannot be used.
    pub fn new(id: &str, config: config::OidcProvider, parts: OidcParts) -> Result<Self, String> {
        let OidcParts {
            recheck,
            clock,
            random,
            bounds,
            places,
        } = parts;
        let issuer = Url::parse(&config.issuer).map_err(|error| format!("issuer: {error}"))?;
        let http = Arc::new(ProviderClient::new(
            config.ca_file.as_deref(),
            is_plain_loopback(&issuer),
            bounds,
        )?);
        let discovery = Discovery::new(&config.issuer, http.clone(), clock.clone());
        let google = config
            .google_groups
            .clone()
            .map(|settings| Google::new(settings, &places, &http, &clock, recheck / 10))
            .transpose()?;
        Ok(Self {
            graph: Graph::of(&issuer, &places, &http, &clock),
            google,
            id: id.to_owned(),
            config,
            http,
            discovery,
            clock,
            random,
            rotated: Cache::new(ROTATED),
        })
    }

    /// Whether the API that tells groups, where there is one, takes the service account; for `check --connect`.
    ///
    /// # Errors
    /// What is wrong with its answer.
    pub async fn probe_groups(&self) -> Result<(), ProviderError> {
        match &self.google {
            Some(google) => google.probe().await,
            None => Ok(()),
        }
    }

    fn token(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.random.bytes::<32>())
    }

    async fn depart(&self, callback: &str, name: Option<&str>) -> Result<Departure, ProviderError> {
        let known = self.discovery.get().await?;
        let memory = Memory {
            state: self.token(),
            nonce: self.token(),
            verifier: self.token(),
        };
        let url = exchange::authorize_url(&self.config, &known, callback, &memory, name)?;
        let state = Secret::new(memory.state.clone());
        let memory = serde_json::to_string(&memory).map_err(|error| ProviderError::Unavailable(error.to_string()))?;
        Ok(Departure { url, state, memory })
    }

    /// All claims of a token that holds. A key that is not known is looked for once more.
    async fn verify(
        &self,
        known: &Arc<Known>,
        token: &CoreIdToken,
        nonce: Option<&str>,
        access_token: &AccessToken,
    ) -> Result<Claims, ProviderError> {
        let expected = Expected {
            client_id: &self.config.client_id,
            nonce,
            access_token,
            now: self.clock.now().seconds(),
        };
        let mut verdict = id_token::verify(token, known, &expected);
        if let Err(Invalid::UnknownKey) = verdict
            && let Some(newer) = self.discovery.newer_keys(known).await
        {
            verdict = id_token::verify(token, &newer, &expected);
        }
        verdict.map_err(|invalid| match invalid {
            Invalid::UnknownKey => ProviderError::Refused("the ID token is signed by an unknown key".to_owned()),
            Invalid::Refused(error) => error,
        })
    }

    async fn userinfo(
        &self,
        known: &Known,
        token: &AccessToken,
        subject: &str,
    ) -> Result<Option<Userinfo>, ProviderError> {
        exchange::userinfo(known, &self.http, token, subject).await
    }

    /// The person with the groups that the claims do not tell. All of them or none: the one that is missing may be the one that
    /// denies.
    async fn with_all_groups(&self, mut person: Person, access_token: &AccessToken) -> Result<Person, ProviderError> {
        let more = match (&self.google, &self.graph, person.overage) {
            (Some(google), _, _) => {
                let address = person.email.as_deref().map(str::to_ascii_lowercase).ok_or_else(|| {
                    ProviderError::AccountRefused(
                        "the account has no verified address to find its groups by".to_owned(),
                    )
                })?;
                google.groups(&address).await?
            }
            (None, Some(graph), true) => graph.groups(&Secret::new(access_token.secret().as_str())).await?,
            (None, None, true) => {
                return Err(ProviderError::AccountRefused(
                    "the account is in more groups than the provider puts into a token".to_owned(),
                ));
            }
            (None, _, false) => return Ok(person),
        };
        for group in more {
            if !person.groups.contains(&group) {
                person.groups.push(group);
            }
        }
        Ok(person)
    }

    fn vouched(&self, subject: &str, person: Person, at: Timestamp, kept: &Kept) -> Result<Vouched, ProviderError> {
        let identity = Identity {
            provider: self.id.clone(),
            subject: subject.to_owned(),
            user: person.user,
            display_name: person.display_name,
            email: person.email,
            groups: person.groups,
            authenticated_at: at,
        };
        let state = serde_json::to_string(kept).map_err(|error| ProviderError::Unavailable(error.to_string()))?;
        Ok(Vouched {
            names: kept.sid.clone().into_iter().collect(),
            ..Vouched::new(identity, Some(state))
        })
    }

    /// The newest state that follows from `kept`: a rotation whose outcome did not reach the session is gone on with,
    /// for a refresh token that is used twice ends the whole sign-in at the provider.
    fn newest(&self, mut kept: Kept) -> Kept {
        for _ in 0..8 {
            match kept
                .refresh_token
                .as_deref()
                .and_then(|token| self.rotated.get(&hash(token)))
            {
                Some(next) => kept = next,
                None => break,
            }
        }
        kept
    }

    async fn refresh(
        &self,
        known: &Arc<Known>,
        subject: &str,
        kept: &mut Kept,
        used: &str,
    ) -> Result<Option<Claims>, ProviderError> {
        let answer = exchange::refresh(&self.config, known, &self.http, used).await?;
        kept.access_token = answer.access_token().secret().clone();
        if let Some(next) = answer.refresh_token().filter(|next| next.secret() != used) {
            kept.refresh_token = Some(next.secret().clone());
            self.rotated.insert(hash(used), kept.clone());
        }
        let Some(token) = answer.id_token() else {
            return Ok(None);
        };
        let claims = self.verify(known, token, None, answer.access_token()).await?;
        checks::same_subject(&claims, subject, "the new ID token")?;
        kept.id_token = token.to_string();
        if kept.refresh_token.as_deref() != Some(used) {
            self.rotated.insert(hash(used), kept.clone());
        }
        Ok(Some(claims))
    }
}

#[async_trait]
impl RedirectProvider for Oidc {
    async fn begin(&self, callback: &str) -> Result<Departure, ProviderError> {
        self.depart(callback, None).await
    }

    async fn begin_as(&self, callback: &str, name: &str) -> Result<Departure, ProviderError> {
        self.depart(callback, Some(name)).await
    }

    async fn complete(
        &self,
        callback: &str,
        memory: &str,
        query: &[(String, String)],
    ) -> Result<Vouched, ProviderError> {
        let memory: Memory = serde_json::from_str(memory)
            .map_err(|_| ProviderError::BadAttempt("what was remembered cannot be read".to_owned()))?;
        let known = self.discovery.get().await?;
        let announced = known
            .metadata
            .additional_metadata()
            .authorization_response_iss_parameter_supported;
        let code = checks::callback(query, &memory.state, &self.config.issuer, announced)?;
        let answer: CoreTokenResponse =
            exchange::redeem_code(&self.config, &known, &self.http, callback, code, &memory.verifier).await?;
        let token = answer
            .id_token()
            .ok_or_else(|| ProviderError::Refused("the token endpoint gave no ID token".to_owned()))?;
        let claims = self
            .verify(&known, token, Some(&memory.nonce), answer.access_token())
            .await?;
        let subject = checks::subject(&claims)?.to_owned();
        let userinfo = match claims::needs_userinfo(&self.config, &claims) {
            true => self.userinfo(&known, answer.access_token(), &subject).await?,
            false => None,
        };
        let userinfo = match userinfo {
            Some(Userinfo::Claims(claims)) => Some(claims),
            Some(Userinfo::NoMore) => {
                return Err(ProviderError::Refused(
                    "userinfo does not take the access token".to_owned(),
                ));
            }
            None => None,
        };
        let person = claims::person(
            &self.config,
            Sources {
                id_token: &claims,
                userinfo: userinfo.as_ref(),
            },
        )?;
        let person = self.with_all_groups(person, answer.access_token()).await?;
        let kept = Kept {
            refresh_token: answer.refresh_token().map(|token| token.secret().clone()),
            access_token: answer.access_token().secret().clone(),
            id_token: token.to_string(),
            sid: claims.get("sid").and_then(Value::as_str).map(str::to_owned),
        };
        self.vouched(&subject, person, proved_at(&claims, self.clock.now()), &kept)
    }

    async fn recheck(&self, identity: &Identity, state: Option<&str>) -> Result<Vouched, ProviderError> {
        let kept: Option<Kept> = state.and_then(|state| serde_json::from_str(state).ok());
        let Some(kept) = kept else {
            return Err(ProviderError::Unavailable(
                "nothing was kept to ask the provider with".to_owned(),
            ));
        };
        let known = self.discovery.get().await?;
        let mut kept = self.newest(kept);
        let fresh = match kept.refresh_token.clone() {
            Some(used) => self.refresh(&known, &identity.subject, &mut kept, &used).await?,
            None => None,
        };
        let id_token = match &fresh {
            Some(claims) => claims.clone(),
            None => id_token::payload(&kept.id_token)
                .ok_or_else(|| ProviderError::Unavailable("the kept ID token cannot be read".to_owned()))?,
        };
        let again = || ProviderError::AccountRefused("the provider must be asked anew: sign in again".to_owned());
        let userinfo = match &fresh {
            Some(claims) if !claims::needs_userinfo(&self.config, claims) => None,
            _ => {
                let token = AccessToken::new(kept.access_token.clone());
                match self.userinfo(&known, &token, &identity.subject).await? {
                    Some(Userinfo::Claims(claims)) => Some(claims),
                    Some(Userinfo::NoMore) => return Err(again()),
                    None => None,
                }
            }
        };
        // An old ID token tells nothing of today: the groups must come from what was just asked.
        let told_now = fresh.is_some()
            || userinfo
                .as_ref()
                .is_some_and(|userinfo| claims::tells_groups(&self.config, &id_token, userinfo));
        if !told_now {
            return Err(again());
        }
        let sources = match &userinfo {
            // What was just asked goes before what is old.
            Some(userinfo) if fresh.is_none() => Sources {
                id_token: &renew(&id_token, userinfo),
                userinfo: None,
            },
            userinfo => Sources {
                id_token: &id_token,
                userinfo: userinfo.as_ref(),
            },
        };
        let person = claims::person(&self.config, sources)?;
        let token = AccessToken::new(kept.access_token.clone());
        let person = self.with_all_groups(person, &token).await?;
        self.vouched(&identity.subject, person, identity.authenticated_at, &kept)
    }

    async fn logout_url(&self, state: Option<&str>, return_to: &str) -> Option<String> {
        let known = self.discovery.get().await.ok()?;
        let mut url = known.metadata.additional_metadata().end_session_endpoint.clone()?;
        let kept: Option<Kept> = state.and_then(|state| serde_json::from_str(state).ok());
        let mut query = url.query_pairs_mut();
        if let Some(kept) = kept {
            query.append_pair("id_token_hint", &self.newest(kept).id_token);
        }
        query.append_pair("client_id", &self.config.client_id);
        query.append_pair("post_logout_redirect_uri", return_to);
        drop(query);
        Some(url.into())
    }

    async fn ended(&self, logout_token: &str) -> Result<Ended, ProviderError> {
        let known = self.discovery.get().await?;
        let now = self.clock.now().seconds();
        let verify = |known: &Known| logout_token::verify(logout_token, known, &self.config.client_id, now);
        let mut verdict = verify(&known);
        if let Err(Invalid::UnknownKey) = verdict
            && let Some(newer) = self.discovery.newer_keys(&known).await
        {
            verdict = verify(&newer);
        }
        verdict.map_err(|invalid| match invalid {
            Invalid::UnknownKey => ProviderError::Refused("the logout token is signed by an unknown key".to_owned()),
            Invalid::Refused(error) => error,
        })
    }

    fn issuer(&self) -> Option<&str> {
        Some(&self.config.issuer)
    }
}

/// Claims as they are now: what userinfo says, and of the old ID token what it does not say.
fn renew(id_token: &Claims, userinfo: &Claims) -> Claims {
    let mut claims = id_token.clone();
    if userinfo.contains_key("email") {
        // An address and its verification stay together.
        claims.remove("email_verified");
    }
    claims.extend(
        userinfo
            .iter()
            .filter(|(name, _)| *name != "hd")
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    claims
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// When the person last proved who they are; never in the future.
fn proved_at(claims: &Claims, now: Timestamp) -> Timestamp {
    let told = claims
        .get("auth_time")
        .and_then(Value::as_i64)
        .map(Timestamp::from_seconds);
    told.filter(|at| *at <= now && now.since(*at) < Duration::from_secs(366 * 86400))
        .unwrap_or(now)
}
