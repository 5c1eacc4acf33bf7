//! The authorization endpoint (RFC 6749, 4.1): what a client asks of a person, and the code that it gets for a yes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::audit::Outcome;
use crate::config::GrantType;
use crate::domain::{Identity, Reason, ReasonCode, Timestamp};
use crate::login::Visitor;
use crate::login::diary::actor_of;
use crate::sessions::Session;
use crate::store::shelf::Then;
use crate::tokens::{Flow, Issued, Kind, NewFamily, Ticket};

use super::client::host_name;
use super::{Client, Oauth, OauthError, Parameters, is_read_only};

/// From the yes to the client's next request.
const LIFETIME: Duration = Duration::from_secs(60);
/// So long a code that comes again ends what it gave.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Longer ones are nobody's, and would be kept and sent back. Bytes.
const LONGEST_STATE: usize = 1024;

/// A request that a person may now be asked about.
#[derive(Debug)]
pub struct Asked<'a> {
    pub client: &'a Client,
    pub redirect_uri: String,
    pub read_only: bool,
    /// Of the terminal, as claimed.
    host: Option<String>,
    state: Option<String>,
    challenge: String,
}

impl Asked<'_> {
    /// Whether a yes lasts longer than one access token.
    pub fn refreshes(&self) -> bool {
        self.client.may(GrantType::RefreshToken)
    }
}

/// A request that nobody is asked about.
#[derive(Debug)]
pub enum BadAuthorize {
    /// Nobody knows where it would lead: the person is told, and sent nowhere.
    Told(&'static str),
    /// The client is told, by a redirect.
    Return(String),
}

/// What a code stands for.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Code {
    client: String,
    redirect_uri: String,
    challenge: String,
    read_only: bool,
    host: Option<String>,
    yes: Yes,
    state: State,
}

/// What a person said yes to, and as whom.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Yes {
    pub(super) identity: Arc<Identity>,
    pub(super) provider_state: Option<String>,
    pub(super) checked: Timestamp,
    /// The browser's.
    pub(super) address: IpAddr,
}

impl Yes {
    pub(super) fn of(session: &Session, visitor: Visitor<'_>) -> Self {
        Self {
            identity: session.identity.clone(),
            provider_state: session.provider_state.clone(),
            checked: session.checked,
            address: visitor.address,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Fresh,
    Spent,
    /// It came again.
    Reused,
}

impl Oauth {
    /// Reads a request; `query` is decoded, in order, duplicates included.
    ///
    /// # Errors
    /// What to do with one that cannot be asked about.
    pub fn authorization(&self, query: &[(String, String)]) -> Result<Asked<'_>, BadAuthorize> {
        let one = |name: &str| {
            let mut values = query.iter().filter(|(field, _)| field == name);
            match (values.next(), values.next()) {
                (Some((_, value)), None) if !value.is_empty() => Some(value.as_str()),
                _ => None,
            }
        };
        let client = one("client_id")
            .and_then(|id| self.client(id))
            .ok_or(BadAuthorize::Told("There is no such client here."))?;
        let redirect_uri = one("redirect_uri").filter(|uri| client.may_return_to(uri)).ok_or({
            BadAuthorize::Told(
                "The client asks to be answered at an address that is not its own. Nothing was sent there.",
            )
        })?;
        let state = one("state").filter(|state| state.len() <= LONGEST_STATE);
        let read = || {
            let parameters = Parameters::new(query)?;
            if parameters.get("state").is_some() && state.is_none() {
                return Err(OauthError::invalid("state is too long"));
            }
            if !client.may(GrantType::AuthorizationCode) {
                return Err(OauthError::UnauthorizedClient);
            }
            if parameters.required("response_type")? != "code" {
                return Err(OauthError::UnsupportedResponseType);
            }
            if parameters.get("response_mode").is_some_and(|mode| mode != "query") {
                return Err(OauthError::invalid("response_mode must be query"));
            }
            let challenge = challenge_of(&parameters)?
                .ok_or_else(|| OauthError::invalid("code_challenge is missing: PKCE is required"))?;
            let read_only = is_read_only(parameters.get("scope")).ok_or(OauthError::InvalidScope)?;
            Ok((challenge, read_only, parameters.get("host_name").and_then(host_name)))
        };
        match read() {
            Ok((challenge, read_only, host)) => Ok(Asked {
                client,
                redirect_uri: redirect_uri.to_owned(),
                read_only,
                host,
                state: state.map(str::to_owned),
                challenge,
            }),
            Err(error) => Err(BadAuthorize::Return(self.back(redirect_uri, state, &told(&error)))),
        }
    }

    /// The person said yes: where to send the browser.
    ///
    /// # Errors
    /// When the store or the trail is away: then there is no code.
    pub async fn approve(
        &self,
        asked: &Asked<'_>,
        session: &Session,
        visitor: Visitor<'_>,
    ) -> Result<String, OauthError> {
        let now = self.clock.now();
        let ticket = Ticket {
            id: self.random.bytes(),
            seed: self.random.bytes(),
            generation: 0,
            until: now.plus(LIFETIME),
        };
        let reason = Reason::new(ReasonCode::Requested, format!("Let {} act for them.", asked.client.id));
        self.diary
            .note(
                "consent.approve",
                actor_of(session, visitor),
                Outcome::Allowed,
                &reason,
                visitor,
            )
            .await?;
        let code = Code {
            client: asked.client.id.clone(),
            redirect_uri: asked.redirect_uri.clone(),
            challenge: asked.challenge.clone(),
            read_only: asked.read_only,
            host: asked.host.clone(),
            yes: Yes::of(session, visitor),
            state: State::Fresh,
        };
        self.codes.put_new(&ticket.id, &code, REMEMBERED).await?;
        let text = self.mint.write(Kind::Code, &ticket);
        Ok(self.back(&asked.redirect_uri, asked.state.as_deref(), &[("code", &text)]))
    }

    /// The person said no: where to send the browser.
    ///
    /// # Errors
    /// When the trail is away.
    pub async fn deny(&self, asked: &Asked<'_>, session: &Session, visitor: Visitor<'_>) -> Result<String, OauthError> {
        let reason = Reason::new(
            ReasonCode::Requested,
            format!("Did not let {} act for them.", asked.client.id),
        );
        self.diary
            .note(
                "consent.refuse",
                actor_of(session, visitor),
                Outcome::Refused,
                &reason,
                visitor,
            )
            .await?;
        let said = told(&OauthError::AccessDenied);
        Ok(self.back(&asked.redirect_uri, asked.state.as_deref(), &said))
    }

    /// The redirect of an answer, with who answers in it (RFC 9207).
    fn back(&self, redirect_uri: &str, state: Option<&str>, answer: &[(&str, &str)]) -> String {
        let Ok(mut url) = Url::parse(redirect_uri) else {
            return redirect_uri.to_owned();
        };
        {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(answer);
            if let Some(state) = state {
                query.append_pair("state", state);
            }
            query.append_pair("iss", &self.issuer);
        }
        url.into()
    }

    /// A code for tokens, once.
    pub(super) async fn redeem_code(
        &self,
        client: &Client,
        parameters: &Parameters,
        visitor: Visitor<'_>,
    ) -> Result<Issued, OauthError> {
        const BAD: OauthError = OauthError::InvalidGrant("the code is unknown, used, too old, or another client's");
        let (text, verifier) = (parameters.required("code")?, parameters.required("code_verifier")?);
        let redirect_uri = parameters.required("redirect_uri")?;
        let ticket = self.mint.read(Kind::Code, text).ok_or(BAD)?;
        let is_young = self.clock.now() < ticket.until;
        let found = self
            .codes
            .decide(&ticket.id, |code| match code.state {
                // Whatever is wrong with it, it is used up: whoever has it must not try again.
                State::Fresh => {
                    let spent = Code {
                        state: State::Spent,
                        ..code.clone()
                    };
                    Then::Put(spent, REMEMBERED, code)
                }
                State::Spent => {
                    let reused = Code {
                        state: State::Reused,
                        ..code.clone()
                    };
                    Then::Put(reused, REMEMBERED, code)
                }
                State::Reused => Then::Keep(code),
            })
            .await?
            .ok_or(BAD)?;
        if found.state != State::Fresh {
            self.end_reused(&ticket, "An authorization code was used twice.", visitor)
                .await?;
            return Err(BAD);
        }
        let fits = is_young
            && found.client == client.id
            && found.redirect_uri == redirect_uri
            && proves(verifier, &found.challenge);
        if !fits {
            return Err(BAD);
        }
        let issued = self
            .tokens
            .open(NewFamily {
                id: ticket.id,
                client: client.id.clone(),
                name: client.name_on(found.host.as_deref()),
                flow: Flow::AuthorizationCode,
                identity: found.yes.identity,
                provider_state: found.yes.provider_state,
                checked: found.yes.checked,
                read_only: found.read_only,
                address: visitor.address,
                host: found.host,
                refreshes: client.may(GrantType::RefreshToken),
                until: None,
            })
            .await?;
        // It may have come again before there was anything to end.
        if self
            .codes
            .get(&ticket.id)
            .await?
            .is_none_or(|code| code.state != State::Spent)
        {
            self.end_reused(&ticket, "An authorization code was used twice.", visitor)
                .await?;
            return Err(BAD);
        }
        Ok(issued)
    }

    /// Ends what a code gave, where it gave something.
    async fn end_reused(&self, ticket: &Ticket, why: &str, visitor: Visitor<'_>) -> Result<(), OauthError> {
        if let Some(ended) = self.tokens.revoke(&ticket.record().to_string()).await? {
            let reason = Reason::new(ReasonCode::BadCredential, why);
            self.note("token.reuse", &ended, Outcome::Refused, &reason, visitor)
                .await?;
        }
        Ok(())
    }
}

fn told(error: &OauthError) -> [(&'static str, &str); 2] {
    [("error", error.code()), ("error_description", error.description())]
}

/// The challenge of PKCE (RFC 7636), where there is one: S256 and nothing else.
pub(super) fn challenge_of(parameters: &Parameters) -> Result<Option<String>, OauthError> {
    let Some(challenge) = parameters.get("code_challenge") else {
        return match parameters.get("code_challenge_method") {
            None => Ok(None),
            Some(_) => Err(OauthError::invalid("code_challenge is missing")),
        };
    };
    if parameters.get("code_challenge_method") != Some("S256") {
        return Err(OauthError::invalid("code_challenge_method must be S256"));
    }
    let is_hash = URL_SAFE_NO_PAD.decode(challenge).is_ok_and(|hash| hash.len() == 32);
    is_hash
        .then(|| Some(challenge.to_owned()))
        .ok_or_else(|| OauthError::invalid("code_challenge is no SHA-256 in base64url"))
}

/// Whether the verifier is the one that the challenge was made of.
pub(super) fn proves(verifier: &str, challenge: &str) -> bool {
    let is_written_right = (43..=128).contains(&verifier.len())
        && verifier
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    is_written_right && URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())) == challenge
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_proves_its_own_challenge_alone() {
        // RFC 7636, appendix B.
        let (verifier, challenge) = (
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        );
        assert!(proves(verifier, challenge));
        assert!(!proves(challenge, challenge), "plain is no proof");
        assert!(!proves(&verifier[1..], challenge));
        assert!(!proves("", challenge));
    }

    #[test]
    fn a_challenge_is_s256_or_refused() {
        let of = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            challenge_of(&Parameters::new(&pairs).unwrap())
        };
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert_eq!(of(&[]), Ok(None));
        let good = of(&[("code_challenge", challenge), ("code_challenge_method", "S256")]);
        assert_eq!(good, Ok(Some(challenge.to_owned())));
        for bad in [
            &[("code_challenge", challenge)][..],
            &[("code_challenge", challenge), ("code_challenge_method", "plain")],
            &[("code_challenge", "short"), ("code_challenge_method", "S256")],
            &[("code_challenge_method", "S256")],
        ] {
            assert!(matches!(of(bad), Err(OauthError::InvalidRequest(_))), "{bad:?}");
        }
    }
}
