//! The device grant (RFC 8628), with what RFC 10027 (BCP 247) asks against those who lure people into approving.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audit::Outcome;
use crate::config::GrantType;
use crate::domain::{Random, Reason, ReasonCode, Timestamp};
use crate::login::Visitor;
use crate::login::diary::actor_of;
use crate::sessions::Session;
use crate::store::Throttled;
use crate::store::shelf::Then;
use crate::tokens::{Flow, Issued, Kind, NewFamily, Ticket};

use super::authorize::{Yes, challenge_of, proves};
use super::client::host_name;
use super::{Client, Oauth, OauthError, Parameters, is_read_only};

const LIFETIME: Duration = Duration::from_secs(300);
/// Between two polls at first, and what each poll that comes too early adds (RFC 8628, 3.5).
const INTERVAL: Duration = Duration::from_secs(5);
/// No vowels, so that no words come of it, and nothing that looks like something else (RFC 8628, 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE_LENGTH: usize = 8;
/// Of 20^8 codes a few are taken at a time: even two tries rarely are.
const CODE_TRIES: usize = 8;

/// RFC 8628, 3.2.
#[derive(Debug)]
pub struct Begun {
    pub device_code: String,
    /// `XXXX-XXXX`.
    pub user_code: String,
    /// Seconds.
    pub expires_in: u64,
    pub interval: u64,
}

/// What a terminal waits for.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Device {
    client: String,
    read_only: bool,
    challenge: Option<String>,
    host: Option<String>,
    /// The terminal's.
    address: IpAddr,
    created: Timestamp,
    until: Timestamp,
    interval: Duration,
    polled: Option<Timestamp>,
    state: State,
}

#[derive(Clone, Serialize, Deserialize)]
enum State {
    Waiting,
    Approved(Yes),
    Denied,
    Spent,
}

/// A request that a person may now decide on.
#[derive(Debug)]
pub struct Waiting<'a> {
    pub client: &'a Client,
    pub read_only: bool,
    /// As claimed.
    pub host: Option<String>,
    pub address: IpAddr,
    pub created: Timestamp,
    id: [u8; 16],
    code: String,
}

/// Why there is nothing to decide on.
#[derive(Debug)]
pub enum NoDevice {
    /// No such code, or none any more.
    Unknown,
    Oauth(OauthError),
}

impl From<OauthError> for NoDevice {
    fn from(error: OauthError) -> Self {
        Self::Oauth(error)
    }
}

impl Waiting<'_> {
    /// Whether a yes lasts longer than one access token.
    pub fn refreshes(&self) -> bool {
        self.client.may(GrantType::RefreshToken)
    }

    /// As it was typed, or should have been.
    pub fn user_code(&self) -> String {
        spelled(&self.code)
    }
}

/// The eight letters of what somebody typed, whatever its case, spaces and dashes; `None` where it cannot be a code.
pub fn letters_of(typed: &str) -> Option<String> {
    let mut letters = String::with_capacity(CODE_LENGTH);
    for letter in typed.chars().filter(|letter| !letter.is_whitespace()) {
        match letter {
            '-' | '_' | '.' | '\u{2010}'..='\u{2015}' => continue,
            _ => letters.push(letter.to_ascii_uppercase()),
        }
        if letters.len() > CODE_LENGTH {
            return None;
        }
    }
    let is_code = letters.len() == CODE_LENGTH && letters.bytes().all(|letter| LETTERS.contains(&letter));
    is_code.then_some(letters)
}

fn spelled(letters: &str) -> String {
    let (first, second) = letters.split_at_checked(CODE_LENGTH / 2).unwrap_or((letters, ""));
    format!("{first}-{second}")
}

/// Each of the letters as likely as every other.
fn new_code(random: &dyn Random) -> String {
    let mut code = String::with_capacity(CODE_LENGTH);
    while code.len() < CODE_LENGTH {
        let bytes: [u8; 16] = random.bytes();
        // 240 is the largest multiple of 20 in a byte.
        let fair = bytes.iter().filter(|byte| **byte < 240);
        code.extend(fair.map(|byte| char::from(LETTERS[usize::from(byte % 20)])));
    }
    code.truncate(CODE_LENGTH);
    code
}

impl Oauth {
    /// Whether terminals may be approved here at all.
    pub fn has_device_flow(&self) -> bool {
        self.clients.iter().any(|client| client.may(GrantType::DeviceCode))
    }

    /// RFC 8628, 3.1.
    ///
    /// # Errors
    /// As the RFCs say.
    pub async fn begin_device(
        &self,
        parameters: &Parameters,
        authorization: Option<&[u8]>,
        visitor: Visitor<'_>,
    ) -> Result<Begun, OauthError> {
        let client = self.authenticate(parameters, authorization, visitor).await?;
        if !client.may(GrantType::DeviceCode) {
            return Err(OauthError::UnauthorizedClient);
        }
        let read_only = is_read_only(parameters.get("scope")).ok_or(OauthError::InvalidScope)?;
        let challenge = challenge_of(parameters)?;
        match self.devices_begun.admit_address(visitor.address).await {
            Ok(()) => {}
            Err(Throttled::Wait(wait)) => return Err(OauthError::TooOften(wait)),
            Err(Throttled::StoreAway(error)) => return Err(error.into()),
        }
        let now = self.clock.now();
        let until = now.plus(LIFETIME);
        let ticket = Ticket {
            id: self.random.bytes(),
            seed: self.random.bytes(),
            generation: 0,
            until,
        };
        let device = Device {
            client: client.id.clone(),
            read_only,
            challenge,
            host: parameters.get("host_name").and_then(host_name),
            address: visitor.address,
            created: now,
            until,
            interval: INTERVAL,
            polled: None,
            state: State::Waiting,
        };
        self.devices.put_new(&ticket.id, &device, LIFETIME).await?;
        for _ in 0..CODE_TRIES {
            let code = new_code(&*self.random);
            if self.user_codes.put_new(code.as_bytes(), &ticket.id, LIFETIME).await? {
                return Ok(Begun {
                    device_code: self.mint.write(Kind::Device, &ticket),
                    user_code: spelled(&code),
                    expires_in: LIFETIME.as_secs(),
                    interval: INTERVAL.as_secs(),
                });
            }
        }
        Err(OauthError::Unavailable)
    }

    /// What waits under a code that somebody typed. Wrong ones are counted, by address and by person, and recorded.
    ///
    /// # Errors
    /// When nothing waits there, or somebody guesses.
    pub async fn waiting(&self, typed: &str, session: &Session, visitor: Visitor<'_>) -> Result<Waiting<'_>, NoDevice> {
        // What cannot be a code is a slip, and no guess.
        let code = letters_of(typed).ok_or(NoDevice::Unknown)?;
        let me = &session.identity;
        let guessed = async |code, text| {
            let reason = Reason::new(code, text);
            let actor = actor_of(session, visitor);
            self.diary
                .note("device.guess", actor, Outcome::Refused, &reason, visitor)
                .await
                .map_err(OauthError::from)
        };
        match self.guesses.admit(visitor.address, &me.provider, &me.subject).await {
            Ok(()) => {}
            Err(Throttled::Wait(wait)) => {
                guessed(ReasonCode::RateLimited, "Too many wrong codes of terminals.").await?;
                return Err(OauthError::TooOften(wait).into());
            }
            Err(Throttled::StoreAway(error)) => return Err(OauthError::from(error).into()),
        }
        let Some(waiting) = self.find_waiting(code).await? else {
            guessed(ReasonCode::BadCredential, "No terminal waits for this code.").await?;
            return Err(NoDevice::Unknown);
        };
        self.guesses.succeeded(visitor.address, &me.provider, &me.subject).await;
        Ok(waiting)
    }

    async fn find_waiting(&self, code: String) -> Result<Option<Waiting<'_>>, OauthError> {
        let Some(id) = self.user_codes.get(code.as_bytes()).await? else {
            return Ok(None);
        };
        let device = self.devices.get(&id).await?;
        let now = self.clock.now();
        let live = device.filter(|device| matches!(device.state, State::Waiting) && now < device.until);
        Ok(live.and_then(|device| {
            Some(Waiting {
                client: self.client(&device.client)?,
                read_only: device.read_only,
                host: device.host,
                address: device.address,
                created: device.created,
                id,
                code,
            })
        }))
    }

    /// The person's answer, once; false where another was faster or the time was over.
    ///
    /// # Errors
    /// When the store or the trail is away: then nothing was decided.
    pub async fn decide_device(
        &self,
        waiting: &Waiting<'_>,
        approved: bool,
        session: &Session,
        visitor: Visitor<'_>,
    ) -> Result<bool, OauthError> {
        let now = self.clock.now();
        let client = &waiting.client.id;
        let terminal = match &waiting.host {
            Some(host) => format!("{client} at {} (it says {host})", waiting.address),
            None => format!("{client} at {}", waiting.address),
        };
        let (action, outcome, text) = match approved {
            true => (
                "device.approve",
                Outcome::Allowed,
                format!("Let {terminal} act for them."),
            ),
            false => (
                "device.refuse",
                Outcome::Refused,
                format!("Did not let {terminal} act for them."),
            ),
        };
        // First the trail: nobody is let in without.
        let reason = Reason::new(ReasonCode::Requested, text);
        self.diary
            .note(action, actor_of(session, visitor), outcome, &reason, visitor)
            .await?;
        let decided = self
            .devices
            .decide(&waiting.id, |device| {
                let left = device.until.since(now);
                if !matches!(device.state, State::Waiting) || left.is_zero() {
                    return Then::Keep(false);
                }
                let state = match approved {
                    true => State::Approved(Yes::of(session, visitor)),
                    false => State::Denied,
                };
                Then::Put(Device { state, ..device }, left, true)
            })
            .await?;
        self.user_codes.remove(waiting.code.as_bytes()).await?;
        Ok(decided.unwrap_or(false))
    }

    /// RFC 8628, 3.4 and 3.5.
    pub(super) async fn redeem_device(
        &self,
        client: &Client,
        parameters: &Parameters,
        visitor: Visitor<'_>,
    ) -> Result<Issued, OauthError> {
        const BAD: OauthError = OauthError::InvalidGrant("the device code is unknown, used, or another client's");
        let ticket = self
            .mint
            .read(Kind::Device, parameters.required("device_code")?)
            .ok_or(BAD)?;
        let now = self.clock.now();
        if now >= ticket.until {
            return Err(OauthError::ExpiredToken);
        }
        let verifier = parameters.get("code_verifier");
        let polled = self
            .devices
            .decide(&ticket.id, |device| poll(device, &client.id, verifier, now))
            .await?;
        let (device, yes) = polled.unwrap_or(Err(BAD))?;
        let new = NewFamily {
            id: ticket.id,
            client: client.id.clone(),
            name: client.name_on(device.host.as_deref()),
            flow: Flow::DeviceCode,
            identity: yes.identity,
            provider_state: yes.provider_state,
            checked: yes.checked,
            read_only: device.read_only,
            address: visitor.address,
            host: device.host,
            refreshes: client.may(GrantType::RefreshToken),
            until: None,
        };
        Ok(self.tokens.open(new).await?)
    }
}

type Polled = Result<(Device, Yes), OauthError>;

/// One poll, by what the one before it left.
fn poll(device: Device, client: &str, verifier: Option<&str>, now: Timestamp) -> Then<Device, Polled> {
    const BAD: OauthError = OauthError::InvalidGrant("the device code is unknown, used, or another client's");
    const UNPROVEN: OauthError = OauthError::InvalidGrant("code_verifier does not fit");
    if device.client != client {
        return Then::Keep(Err(BAD));
    }
    let is_proven = match (&device.challenge, verifier) {
        (Some(challenge), Some(verifier)) => proves(verifier, challenge),
        (None, None) => true,
        _ => false,
    };
    if !is_proven {
        return Then::Keep(Err(UNPROVEN));
    }
    let left = device.until.since(now);
    match &device.state {
        State::Spent => Then::Keep(Err(BAD)),
        State::Denied => Then::Keep(Err(OauthError::AccessDenied)),
        State::Approved(yes) => {
            let yes = yes.clone();
            let spent = Device {
                state: State::Spent,
                ..device.clone()
            };
            Then::Put(spent, left, Ok((device, yes)))
        }
        State::Waiting => {
            let is_early = device.polled.is_some_and(|before| now.since(before) < device.interval);
            let next = Device {
                polled: Some(now),
                interval: device.interval + if is_early { INTERVAL } else { Duration::ZERO },
                ..device
            };
            let told = match is_early {
                true => OauthError::SlowDown,
                false => OauthError::AuthorizationPending,
            };
            Then::Put(next, left, Err(told))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SystemRandom;

    #[test]
    fn a_code_is_forgiven_its_case_its_spaces_and_its_dashes() {
        for typed in [
            "BDWP-HQPK",
            "bdwphqpk",
            " b d w p h q p k ",
            "BDWP\u{2013}HQPK",
            "bdwp_hqpk",
            "bdwp.hqpk",
        ] {
            assert_eq!(letters_of(typed).as_deref(), Some("BDWPHQPK"), "{typed}");
        }
        for wrong in [
            "",
            "BDWP-HQP",
            "BDWP-HQPKK",
            "BDWP-HQPA",
            "BDWP-HQP1",
            "ßDWP-HQPK",
            "BDWPHQPK<",
        ] {
            assert_eq!(letters_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn codes_are_made_of_the_letters_each_as_likely_as_another() {
        let random = SystemRandom::new();
        let mut counts = [0_u32; 20];
        for _ in 0..2000 {
            let code = new_code(&random);
            assert_eq!(letters_of(&code).as_deref(), Some(code.as_str()));
            for letter in code.bytes() {
                counts[LETTERS.iter().position(|known| *known == letter).unwrap()] += 1;
            }
        }
        assert!(counts.iter().all(|count| (600..1000).contains(count)), "{counts:?}");
        assert_eq!(spelled("BDWPHQPK"), "BDWP-HQPK");
    }

    fn device(state: State) -> Device {
        Device {
            client: "c".into(),
            read_only: false,
            challenge: None,
            host: None,
            address: "192.0.2.1".parse().unwrap(),
            created: Timestamp::from_seconds(0),
            until: Timestamp::from_seconds(300),
            interval: INTERVAL,
            polled: None,
            state,
        }
    }

    fn told(then: Then<Device, Polled>) -> (Option<Device>, OauthError) {
        match then {
            Then::Keep(told) => (None, told.err().unwrap()),
            Then::Put(device, _, told) => (Some(device), told.err().unwrap()),
        }
    }

    #[test]
    fn who_polls_too_early_must_wait_longer_each_time() {
        let at = Timestamp::from_seconds;
        let (device, first) = told(poll(device(State::Waiting), "c", None, at(0)));
        assert_eq!(first, OauthError::AuthorizationPending);
        let (device, early) = told(poll(device.unwrap(), "c", None, at(4)));
        assert_eq!(early, OauthError::SlowDown);
        let (device, early) = told(poll(device.unwrap(), "c", None, at(13)));
        assert_eq!(early, OauthError::SlowDown, "ten seconds from the last poll now");
        let (device, late) = told(poll(device.unwrap(), "c", None, at(28)));
        assert_eq!(late, OauthError::AuthorizationPending, "fifteen were enough");
        assert_eq!(device.unwrap().interval, Duration::from_secs(15));
    }

    #[test]
    fn a_device_code_is_its_client_s_and_with_its_proof() {
        let now = Timestamp::from_seconds(0);
        assert!(matches!(
            told(poll(device(State::Waiting), "d", None, now)),
            (None, OauthError::InvalidGrant(_))
        ));
        let unasked = poll(device(State::Waiting), "c", Some("x"), now);
        assert!(matches!(told(unasked), (None, OauthError::InvalidGrant(_))));
        let proving = Device {
            challenge: Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".into()),
            ..device(State::Waiting)
        };
        assert!(matches!(
            told(poll(proving.clone(), "c", None, now)),
            (None, OauthError::InvalidGrant(_))
        ));
        let proven = poll(proving, "c", Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"), now);
        assert_eq!(told(proven).1, OauthError::AuthorizationPending);
        assert_eq!(
            told(poll(device(State::Denied), "c", None, now)).1,
            OauthError::AccessDenied
        );
        assert!(matches!(
            told(poll(device(State::Spent), "c", None, now)),
            (None, OauthError::InvalidGrant(_))
        ));
    }
}
