//! Sign-in by SAML 2.0: signed requests, and answers of which nothing is read but what a key of the provider's metadata signed.
//! See `docs/decisions/0008-saml-in-rust.md`.

mod algorithm;
mod canonical;
mod decrypt;
#[cfg(fuzzing)]
pub mod fuzzing;
mod logout;
mod message;
mod outgoing;
mod person;
mod redirect;
mod rejected;
mod response;
mod signature;
mod source;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use url::{Url, form_urlencoded};

use super::{Departure, LogoutWord, Message, Onward, ProviderError, RedirectProvider, Vouched};
use crate::config::{IdpMetadata, SamlBinding, SamlKey, SamlProvider};
use crate::domain::{Clock, Identity, Random, Secret, Timestamp};
use crate::store::seal::digest;
use crate::store::{Sealer, Store, StoreError};

use message::SKEW;
use outgoing::Head;
use rejected::{Rejected, must};
use response::{Expected, NameId, Opened, Statement};
use source::Source;

pub use source::MetadataCache;

/// As long as a person may take at the provider.
const REQUEST_LIFETIME: Duration = Duration::from_secs(600);
/// From the provider's form to our own page is one redirect.
const ANSWER_LIFETIME: Duration = Duration::from_secs(60);
/// What was used is remembered until it is too old to be used again: `OLDEST`, and clocks that differ both ways.
const REMEMBERED: Duration = Duration::from_secs(480);
/// Messages that are looked at at once, and that wait for it.
const AT_WORK: usize = 2;
const IN_LINE: usize = 64;

/// Of one sign-in attempt.
#[derive(Serialize, Deserialize)]
struct Memory {
    request_id: String,
    at: Timestamp,
}

/// What a session keeps for the logout.
#[derive(Serialize, Deserialize)]
struct Kept {
    name_id: NameId,
    session_index: Option<String>,
}

/// One identity provider.
pub struct Saml {
    id: String,
    config: Arc<SamlProvider>,
    source: Source,
    store: Arc<dyn Store>,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    line: Semaphore,
    desks: Semaphore,
}

/// What it works with besides its configuration.
pub struct Parts {
    pub cache: Arc<MetadataCache>,
    pub store: Arc<dyn Store>,
    pub sealer: Arc<Sealer>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

impl Saml {
    /// Asks nobody yet: the gateway starts when the metadata's place is away.
    ///
    /// # Errors
    /// When the CA file cannot be used.
    pub fn new(id: &str, config: SamlProvider, parts: Parts) -> Result<Self, String> {
        Ok(Self {
            id: id.to_owned(),
            source: Source::new(&config.metadata, parts.cache)?,
            config: Arc::new(config),
            store: parts.store,
            sealer: parts.sealer,
            clock: parts.clock,
            random: parts.random,
            line: Semaphore::new(AT_WORK + IN_LINE),
            desks: Semaphore::new(AT_WORK),
        })
    }

    /// Whether its metadata can be had and used; for `check --connect`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn probe(&self) -> Result<(), ProviderError> {
        self.source.get(self.config.binding, &*self.clock).await.map(drop)
    }

    /// 160 random bits that may stand in an `ID`.
    fn message_id(&self) -> String {
        format!("_{}", hex::encode(self.random.bytes::<20>()))
    }

    /// A key of ours in the store.
    fn key(&self, purpose: &str, name: &str) -> String {
        let fields = [self.id.as_bytes(), name.as_bytes()];
        format!("saml:{}", hex::encode(digest(&format!("saml {purpose}"), &fields)))
    }

    /// Looks at a message away from the workers, and not at too many at once.
    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Rejected> + Send + 'static,
    ) -> Result<T, ProviderError> {
        let busy = || ProviderError::Unavailable("too many messages are waiting to be looked at".to_owned());
        let _place = self.line.try_acquire().map_err(|_| busy())?;
        let _desk = self.desks.acquire().await.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(work).await;
        Ok(done.map_err(|_| ProviderError::Refused("document: it could not be looked at".to_owned()))??)
    }

    /// Opens a response; one that a stranger could have made is decrypted once for each request of ours, and never otherwise.
    async fn believe(&self, text: String, idp: Arc<IdpMetadata>) -> Result<Statement, ProviderError> {
        let expected = Arc::new(Expected {
            idp,
            config: self.config.clone(),
            acs: format!("{}/acs", self.config.base),
            now: self.clock.now(),
        });
        let (first, random) = (expected.clone(), self.random.clone());
        let opened = self.look(move || response::open(&text, &first, &*random));
        let opened = opened.await?;
        let sealed = match opened {
            Opened::Whole(statement) => return Ok(*statement),
            Opened::Sealed(sealed) => sealed,
        };
        let asked_for = match &sealed.in_response_to {
            Some(request) => self
                .store
                .take(&self.key("request", request))
                .await
                .map_err(away)?
                .is_some(),
            None => false,
        };
        must(
            asked_for,
            Rejected::Condition("an encrypted assertion, without a signature outside, for no request that is open"),
        )?;
        let random = self.random.clone();
        self.look(move || sealed.unseal(&expected, &*random)).await
    }

    /// An assertion is good for one sign-in, at whichever replica.
    async fn use_up(&self, statement: &Statement) -> Result<(), ProviderError> {
        let key = self.key("assertion", &statement.assertion_id);
        match self.store.put_new(&key, b"1", REMEMBERED).await.map_err(away)? {
            true => Ok(()),
            false => Err(Rejected::Replay("the assertion was used before").into()),
        }
    }

    /// Takes back what `receive` kept under the handle.
    async fn fetch(&self, query: &[(String, String)]) -> Result<Statement, ProviderError> {
        let gone = || ProviderError::BadAttempt("unknown, used or old answer".to_owned());
        let handle = one(query, "answer").ok_or_else(gone)?;
        let key = self.key("answer", handle);
        let sealed = self.store.take(&key).await.map_err(away)?.ok_or_else(gone)?;
        let plain = self.sealer.open(ANSWER, &key, &sealed).ok_or_else(gone)?;
        serde_json::from_slice(&plain).map_err(|_| gone())
    }

    fn vouch(&self, statement: Statement) -> Result<Vouched, ProviderError> {
        let contexts = &self.config.requested_authn_context;
        must(
            contexts.is_empty()
                || statement
                    .authn_context
                    .as_ref()
                    .is_some_and(|told| contexts.contains(told)),
            Rejected::Condition("the person did not prove who they are in a requested way (requested_authn_context)"),
        )?;
        let person = person::person(&self.config, &statement)?;
        let identity = Identity {
            provider: self.id.clone(),
            subject: person.subject,
            user: person.user,
            display_name: person.display_name,
            email: person.email,
            groups: person.groups,
            authenticated_at: statement.authenticated_at.min(self.clock.now()),
        };
        let kept = Kept {
            name_id: statement.name_id,
            session_index: statement.session_index,
        };
        let name = &kept.name_id.value;
        let mut names = vec![self.session_name(name, None)];
        names.extend(
            kept.session_index
                .as_deref()
                .map(|index| self.session_name(name, Some(index))),
        );
        let state = serde_json::to_string(&kept).map_err(|error| ProviderError::Unavailable(error.to_string()))?;
        Ok(Vouched {
            identity,
            state: Some(state),
            until: statement.session_until,
            names,
        })
    }

    /// What the provider calls one session, or all of a name.
    fn session_name(&self, name_id: &str, index: Option<&str>) -> String {
        let fields = [
            self.id.as_bytes(),
            name_id.as_bytes(),
            index.unwrap_or_default().as_bytes(),
        ];
        let domain = if index.is_some() {
            "saml session index"
        } else {
            "saml session name"
        };
        hex::encode(digest(domain, &fields))
    }

    /// Dresses a message for its binding. Signing takes milliseconds, and so its place away from the workers.
    async fn send(&self, binding: SamlBinding, to: Url, dressed: Dressed) -> Result<Onward, ProviderError> {
        let config = self.config.clone();
        let sent = tokio::task::spawn_blocking(move || dressed.send(binding, &to, &config.key)).await;
        let sent = sent.map_err(|error| ProviderError::Unavailable(error.to_string()))?;
        sent.map_err(ProviderError::Unavailable)
    }

    async fn read_logout(
        &self,
        message: Message<'_>,
        idp: Arc<IdpMetadata>,
    ) -> Result<(logout::Message, SamlBinding, Option<String>), ProviderError> {
        let (slo, now) = (format!("{}/slo", self.config.base), self.clock.now());
        match message {
            Message::Query(query) => {
                let query = query.to_owned();
                self.look(move || {
                    let received = redirect::receive(&query, &idp.keys)?;
                    let expected = logout::Expected {
                        idp: &idp,
                        slo: &slo,
                        now,
                    };
                    let message = logout::redirected(&received.text, received.is_request, &expected)?;
                    Ok((message, SamlBinding::Redirect, received.relay_state))
                })
                .await
            }
            Message::Form(fields) => {
                let (packed, is_request) = match (one(fields, "SAMLRequest"), one(fields, "SAMLResponse")) {
                    (Some(packed), None) => (packed.to_owned(), true),
                    (None, Some(packed)) => (packed.to_owned(), false),
                    _ => return Err(Rejected::Binding("the form holds not exactly one message").into()),
                };
                let relay_state = one(fields, "RelayState").map(str::to_owned);
                self.look(move || {
                    let expected = logout::Expected {
                        idp: &idp,
                        slo: &slo,
                        now,
                    };
                    let message = logout::posted(&message::from_base64(&packed)?, is_request, &expected)?;
                    Ok((message, SamlBinding::Post, relay_state))
                })
                .await
            }
        }
    }

    /// Our answer to the provider's request, on the way that the request came where that can be.
    async fn answer_logout(
        &self,
        request_id: &str,
        idp: &IdpMetadata,
        binding: SamlBinding,
        relay_state: Option<String>,
    ) -> Result<Onward, ProviderError> {
        let same = idp.logout.iter().find(|endpoint| endpoint.binding == binding);
        let endpoint = same.or_else(|| idp.logout());
        let endpoint =
            endpoint.ok_or_else(|| ProviderError::Refused("its metadata has no SingleLogoutService".to_owned()))?;
        let to = endpoint.response_url.as_ref().unwrap_or(&endpoint.url);
        let id = self.message_id();
        let head = Head {
            id: &id,
            destination: to.as_str(),
            now: self.clock.now(),
        };
        let text = outgoing::logout_response(&head, &self.config.entity_id, request_id);
        let dressed = Dressed {
            name: "SAMLResponse",
            id,
            text,
            // Theirs; bounded, because it goes into a page or URL of ours.
            relay_state: relay_state.filter(|state| state.len() <= 1024),
        };
        self.send(endpoint.binding, to.clone(), dressed).await
    }
}

/// A message of ours, before its binding.
struct Dressed {
    name: &'static str,
    id: String,
    text: String,
    relay_state: Option<String>,
}

impl Dressed {
    fn send(self, binding: SamlBinding, to: &Url, key: &SamlKey) -> Result<Onward, String> {
        Ok(match binding {
            SamlBinding::Redirect => {
                let relay_state = self.relay_state.as_deref();
                Onward::Redirect(redirect::url(to, self.name, &self.text, relay_state, key)?)
            }
            SamlBinding::Post => {
                let message = outgoing::enveloped(&self.text, &self.id, key)?;
                let relay = self.relay_state.map(|state| ("RelayState", state));
                Onward::Form {
                    url: to.to_string(),
                    fields: [(self.name, message)].into_iter().chain(relay).collect(),
                }
            }
        })
    }
}

const NOBODY_ASKED: Rejected = Rejected::Condition("nobody asked for this response (allow_idp_initiated is off)");

/// The seal of answers.
const ANSWER: &str = "saml-answer";

#[async_trait]
impl RedirectProvider for Saml {
    async fn begin(&self, _: &str) -> Result<Departure, ProviderError> {
        let idp = self.source.get(self.config.binding, &*self.clock).await?;
        let endpoint = idp.sign_in_by(self.config.binding);
        let endpoint = endpoint
            .ok_or_else(|| ProviderError::Unavailable("its metadata lacks the configured binding".to_owned()))?;
        let memory = Memory {
            request_id: self.message_id(),
            at: self.clock.now(),
        };
        let head = Head {
            id: &memory.request_id,
            destination: endpoint.url.as_str(),
            now: memory.at,
        };
        let text = outgoing::authn_request(&head, &self.config);
        let state = Secret::new(URL_SAFE_NO_PAD.encode(self.random.bytes::<32>()));
        let dressed = Dressed {
            name: "SAMLRequest",
            id: memory.request_id.clone(),
            text,
            relay_state: Some(state.expose().to_owned()),
        };
        let onward = self.send(endpoint.binding, endpoint.url.clone(), dressed).await?;
        let key = self.key("request", &memory.request_id);
        self.store.put(&key, b"1", REQUEST_LIFETIME, None).await.map_err(away)?;
        let memory = serde_json::to_string(&memory).map_err(|error| ProviderError::Unavailable(error.to_string()))?;
        Ok(Departure { onward, state, memory })
    }

    async fn receive(&self, form: &[(String, String)]) -> Result<String, ProviderError> {
        let packed = one(form, "SAMLResponse").ok_or(Rejected::Binding("the form holds not exactly one response"))?;
        let text = message::from_base64(packed)?;
        let idp = self.source.known(self.clock.now())?;
        let statement = self.believe(text, idp).await?;
        let state = match &statement.in_response_to {
            None => {
                must(self.config.allow_idp_initiated, NOBODY_ASKED)?;
                None
            }
            // A handle of ours and nothing else: it goes into a URL.
            Some(_) => {
                let state = one(form, "RelayState")
                    .filter(|state| URL_SAFE_NO_PAD.decode(state).is_ok_and(|it| it.len() == 32));
                Some(state.ok_or(Rejected::Binding("RelayState is not the one that was sent along"))?)
            }
        };
        self.use_up(&statement).await?;
        let handle = URL_SAFE_NO_PAD.encode(self.random.bytes::<32>());
        let key = self.key("answer", &handle);
        let plain = serde_json::to_vec(&statement).map_err(|error| ProviderError::Unavailable(error.to_string()))?;
        let sealed = self.sealer.seal(ANSWER, &key, &plain);
        self.store
            .put(&key, &sealed, ANSWER_LIFETIME, None)
            .await
            .map_err(away)?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(state) = state {
            query.append_pair("state", state);
        }
        query.append_pair("answer", &handle);
        Ok(query.finish())
    }

    async fn complete(&self, _: &str, memory: &str, query: &[(String, String)]) -> Result<Vouched, ProviderError> {
        let memory: Memory = serde_json::from_str(memory)
            .map_err(|_| ProviderError::BadAttempt("what was remembered cannot be read".to_owned()))?;
        let statement = self.fetch(query).await?;
        must(
            statement.in_response_to.as_deref() == Some(memory.request_id.as_str()),
            Rejected::Condition("InResponseTo is another request"),
        )?;
        must(
            !self.config.force_authn || statement.authenticated_at.plus(SKEW) >= memory.at,
            Rejected::Condition("the person did not prove anew who they are (force_authn)"),
        )?;
        self.vouch(statement)
    }

    async fn unsolicited(&self, query: &[(String, String)]) -> Result<Vouched, ProviderError> {
        // Before the answer is taken: it may be somebody's who did ask.
        must(self.config.allow_idp_initiated, NOBODY_ASKED)?;
        let statement = self.fetch(query).await?;
        must(statement.in_response_to.is_none(), NOBODY_ASKED)?;
        self.vouch(statement)
    }

    async fn recheck(&self, _: &Identity, _: Option<&str>) -> Result<Vouched, ProviderError> {
        Err(ProviderError::Unavailable(
            "only the person's browser can ask this provider".to_owned(),
        ))
    }

    fn rechecks_in_browser(&self) -> bool {
        true
    }

    async fn logout(&self, state: Option<&str>, _: &str) -> Option<Onward> {
        let kept: Kept = serde_json::from_str(state?).ok()?;
        let idp = self.source.known(self.clock.now()).ok()?;
        let endpoint = idp.logout()?;
        let id = self.message_id();
        let head = Head {
            id: &id,
            destination: endpoint.url.as_str(),
            now: self.clock.now(),
        };
        let entity_id = &self.config.entity_id;
        let text = outgoing::logout_request(&head, entity_id, &kept.name_id, kept.session_index.as_deref());
        self.store
            .put(&self.key("logout", &id), b"1", REQUEST_LIFETIME, None)
            .await
            .ok()?;
        let dressed = Dressed {
            name: "SAMLRequest",
            id,
            text,
            relay_state: None,
        };
        self.send(endpoint.binding, endpoint.url.clone(), dressed).await.ok()
    }

    fn metadata(&self) -> Option<String> {
        Some(outgoing::metadata(&self.config))
    }

    async fn logout_message(&self, message: Message<'_>) -> Result<LogoutWord, ProviderError> {
        let idp = self.source.known(self.clock.now())?;
        let (message, binding, relay_state) = self.read_logout(message, idp.clone()).await?;
        match message {
            logout::Message::Request(request) => {
                let key = self.key("logout request", &request.id);
                let is_new = self.store.put_new(&key, b"1", REMEMBERED).await.map_err(away)?;
                must(is_new, Rejected::Replay("the request was used before"))?;
                let names = match request.session_indexes.as_slice() {
                    [] => vec![self.session_name(&request.name, None)],
                    indexes => indexes
                        .iter()
                        .map(|index| self.session_name(&request.name, Some(index)))
                        .collect(),
                };
                let answer = self.answer_logout(&request.id, &idp, binding, relay_state).await?;
                Ok(LogoutWord::End { names, answer })
            }
            logout::Message::Answer(answer) => {
                let asked_for = self
                    .store
                    .take(&self.key("logout", &answer.in_response_to))
                    .await
                    .map_err(away)?;
                match asked_for {
                    Some(_) => Ok(LogoutWord::Ended {
                        trouble: answer.trouble,
                    }),
                    None => Err(ProviderError::BadAttempt("unknown, used or old logout".to_owned())),
                }
            }
        }
    }

    async fn health(&self) -> Result<(), ProviderError> {
        self.source.known(self.clock.now()).map(drop)
    }

    async fn refresh(&self) {
        self.source.refresh(self.config.binding, &*self.clock).await;
    }
}

/// A field that is there exactly once.
fn one<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = fields.iter().filter(|(field, _)| field == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

fn away(error: StoreError) -> ProviderError {
    ProviderError::Unavailable(error.to_string())
}
