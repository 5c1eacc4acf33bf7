//! What a directory means by its answer to a bind, and by what stands in an entry: right, wrong, or may not come in.

use ldap3::LdapResult;
use ldap3::controls::RawControl;

use super::ber;
use super::entry::Entry;
use crate::domain::Timestamp;
use crate::providers::ProviderError;

/// Password policy (draft-behera-ldap-password-policy, 6).
const PPOLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";
/// Netscape's "password expired", which comes with a bind that succeeds.
const NETSCAPE_EXPIRED: &str = "2.16.840.1.113730.3.4.4";

/// Why a person did not get in. The page tells the three classes apart at most; the log tells all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Also for a locked account: it is locked for whoever guesses too, who must not learn that it is there.
    Wrong(&'static str),
    /// The password was right.
    Barred(&'static str),
}

impl State {
    pub(super) fn cause(self) -> &'static str {
        match self {
            Self::Wrong(cause) | Self::Barred(cause) => cause,
        }
    }
}

impl From<State> for ProviderError {
    fn from(state: State) -> Self {
        match state {
            State::Wrong(_) => Self::BadPassword,
            State::Barred(_) => barred(),
        }
    }
}

/// One text for every state: which it is stands in the log.
pub(super) fn barred() -> ProviderError {
    ProviderError::AccountRefused(
        "the directory does not let it in now; it may be disabled, or its password too old".to_owned(),
    )
}

/// Asks for the states that a directory tells beside its result.
pub(super) fn policy_request() -> RawControl {
    RawControl {
        ctype: PPOLICY.to_owned(),
        crit: false,
        val: None,
    }
}

/// `Ok(None)` for a bind that holds.
///
/// # Errors
/// When the answer is none to the question.
pub(super) fn of_bind(result: &LdapResult) -> Result<Option<State>, ProviderError> {
    let policy = policy(result)?;
    match result.rc {
        0 => Ok(policy.map(State::Barred)),
        49 => Ok(Some(refused(result, policy))),
        // No such entry, a DN that is none, nothing to bind with, not for this account (389 answers so when it is locked).
        16 | 19 | 32 | 34 | 48 | 50 | 53 => Ok(Some(State::Wrong("the directory refuses the bind"))),
        _ => Err(failed(result)),
    }
}

fn refused(result: &LdapResult, policy: Option<&'static str>) -> State {
    match (policy, sub_code(&result.text)) {
        (Some("locked"), _) | (_, Some(0x775)) => State::Wrong("locked"),
        (Some(cause), _) => State::Barred(cause),
        // Active Directory says these only to who has the right password.
        (None, Some(0x530)) => State::Barred("not at this time of day"),
        (None, Some(0x531)) => State::Barred("not from this machine"),
        (None, Some(0x532)) => State::Barred("password expired"),
        (None, Some(0x533)) => State::Barred("disabled"),
        (None, Some(0x701)) => State::Barred("account expired"),
        (None, Some(0x773)) => State::Barred("password must be changed"),
        (None, _) => State::Wrong("wrong password"),
    }
}

/// Of Active Directory's `80090308: LdapErr: DSID-…, comment: AcceptSecurityContext error, data 52e, v4563`.
fn sub_code(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once(" data ")?;
    let end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
    u32::from_str_radix(&rest[..end], 16).ok()
}

/// What the result means where it answers no bind of a person's.
pub(super) fn failed(result: &LdapResult) -> ProviderError {
    let text = told(result);
    match result.rc {
        10 => ProviderError::Refused("the directory refers to another server, which is not asked".to_owned()),
        1 | 3 | 11 | 51 | 52 | 80 => ProviderError::Unavailable(format!("the directory fails: {text}")),
        7 | 8 | 13 => ProviderError::Refused(format!("the directory wants TLS, or another way to bind: {text}")),
        _ => ProviderError::Refused(format!("the directory answers: {text}")),
    }
}

/// The result's number and text, fit for a log.
pub(super) fn told(result: &LdapResult) -> String {
    let text: String = result.text.chars().filter(|c| !c.is_control()).take(200).collect();
    format!("result {} {text}", result.rc).trim_end().to_owned()
}

/// The state that a control tells; a bind may succeed beside it. Warnings of a time to come are none.
fn policy(result: &LdapResult) -> Result<Option<&'static str>, ProviderError> {
    for control in &result.ctrls {
        let raw = &control.1;
        if raw.ctype == NETSCAPE_EXPIRED {
            return Ok(Some("password expired"));
        }
        if raw.ctype == PPOLICY {
            let read = read_policy(raw.val.as_deref().unwrap_or_default());
            let found =
                read.ok_or_else(|| ProviderError::Refused("a password policy control that cannot be read".to_owned()))?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// `SEQUENCE { warning [0] CHOICE { timeBeforeExpiration [0], graceAuthNsRemaining [1] }, error [1] ENUMERATED }`.
fn read_policy(value: &[u8]) -> Option<Option<&'static str>> {
    const WARNING: u8 = 0xa0;
    const GRACE: u8 = 0x81;
    const ERROR: u8 = 0x81;
    if value.is_empty() {
        return Some(None);
    }
    let (0x30, mut rest, []) = ber::element(value)? else {
        return None;
    };
    let mut found = None;
    while !rest.is_empty() {
        let (tag, content, next) = ber::element(rest)?;
        match (tag, content) {
            (WARNING, warning) if ber::element(warning)?.0 == GRACE => found = Some("password expired"),
            (WARNING, _) => {}
            (ERROR, [error]) => {
                found = Some(match error {
                    0 => "password expired",
                    1 => "locked",
                    2 => "password must be changed",
                    _ => "barred by the password policy",
                });
            }
            _ => return None,
        }
        rest = next;
    }
    Some(found)
}

/// Attributes that [`of_entry`] looks at.
pub(super) const ATTRIBUTES: [&str; 8] = [
    "userAccountControl",
    "accountExpires",
    "pwdAccountLockedTime",
    "pwdEndTime",
    "nsAccountLock",
    "loginDisabled",
    "shadowExpire",
    "krbPrincipalExpiration",
];

/// Why the account is closed, by what stands in its entry. Locks that guessing sets and clocks lift are no reason: with
/// them anybody could end anybody's sessions.
pub(super) fn of_entry(entry: &Entry, now: Timestamp) -> Option<&'static str> {
    const ACCOUNT_DISABLE: i64 = 0x2;
    let disabled = entry
        .number("userAccountControl")
        .is_some_and(|flags| flags & ACCOUNT_DISABLE != 0)
        || entry
            .text("pwdAccountLockedTime")
            .is_some_and(|time| time.starts_with("000001010000"))
        || entry.is_true("nsAccountLock")
        || entry.is_true("loginDisabled");
    let is_past = |seconds: i64| seconds <= now.seconds();
    let expired = entry.number("accountExpires").and_then(file_time).is_some_and(is_past)
        // Days since 1970; -1 is never.
        || entry.number("shadowExpire").is_some_and(|day| (0..1 << 32).contains(&day) && is_past(day * 86_400))
        || ["pwdEndTime", "krbPrincipalExpiration"]
            .iter()
            .filter_map(|name| generalized_time(entry.text(name)?))
            .any(is_past);
    match (disabled, expired) {
        (true, _) => Some("disabled"),
        (_, true) => Some("account expired"),
        _ => None,
    }
}

/// Seconds since 1970 of Active Directory's 100 ns since 1601; 0 and the largest number are never.
fn file_time(ticks: i64) -> Option<i64> {
    (ticks != 0 && ticks != i64::MAX).then_some(ticks / 10_000_000 - 11_644_473_600)
}

/// Seconds since 1970 of `20261231235959Z` (RFC 4517, 3.3.13); fractions are left out, other zones are not read.
fn generalized_time(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('Z')?.split(['.', ',']).next()?;
    if digits.len() != 14 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    let (date, time) = (
        [part(0..4), part(4..6), part(6..8)].join("-"),
        [part(8..10), part(10..12), part(12..14)].join(":"),
    );
    let moment = Timestamp::parse_rfc3339(&format!("{date}T{time}Z")).ok()?;
    Some(moment.seconds())
}

#[cfg(test)]
mod tests {
    use ldap3::controls::Control;

    use super::*;

    fn answer(rc: u32, text: &str, controls: &[(&str, &[u8])]) -> LdapResult {
        let control = |(oid, value): &(&str, &[u8])| {
            let raw = RawControl {
                ctype: (*oid).to_owned(),
                crit: false,
                val: Some(value.to_vec()),
            };
            Control(None, raw)
        };
        LdapResult {
            rc,
            matched: String::new(),
            text: text.to_owned(),
            refs: Vec::new(),
            ctrls: controls.iter().map(control).collect(),
        }
    }

    #[test]
    fn active_directory_tells_the_state_in_its_text() {
        let state = |data: &str| {
            let text =
                format!("80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data {data}, v4563");
            of_bind(&answer(49, &text, &[])).unwrap().unwrap()
        };
        assert_eq!(state("52e"), State::Wrong("wrong password"));
        assert_eq!(state("525"), State::Wrong("wrong password"));
        assert_eq!(state("775"), State::Wrong("locked"));
        for data in ["530", "531", "532", "533", "701", "773"] {
            assert!(matches!(state(data), State::Barred(_)), "{data}");
        }
    }

    #[test]
    fn a_policy_control_counts_beside_success_and_beside_refusal() {
        let state = |rc, value: &[u8]| of_bind(&answer(rc, "", &[(PPOLICY, value)])).unwrap();
        assert_eq!(state(0, &[0x30, 0]), None);
        assert_eq!(
            state(0, &[0x30, 4, 0xa0, 2, 0x80, 0]),
            None,
            "a time before it expires is only a warning"
        );
        assert_eq!(
            state(0, &[0x30, 3, 0x81, 1, 2]),
            Some(State::Barred("password must be changed"))
        );
        assert_eq!(
            state(0, &[0x30, 5, 0xa0, 3, 0x81, 1, 1]),
            Some(State::Barred("password expired"))
        );
        assert_eq!(
            state(49, &[0x30, 3, 0x81, 1, 0]),
            Some(State::Barred("password expired"))
        );
        assert_eq!(state(49, &[0x30, 3, 0x81, 1, 1]), Some(State::Wrong("locked")));
        assert_eq!(
            of_bind(&answer(0, "", &[(NETSCAPE_EXPIRED, b"0")])).unwrap(),
            Some(State::Barred("password expired"))
        );
        assert!(
            of_bind(&answer(0, "", &[(PPOLICY, &[0x30, 9])])).is_err(),
            "what cannot be read is no success"
        );
    }

    #[test]
    fn every_result_but_success_refuses() {
        assert_eq!(of_bind(&answer(0, "", &[])).unwrap(), None);
        for rc in 1..130 {
            assert!(!matches!(of_bind(&answer(rc, "", &[])), Ok(None)), "{rc}");
        }
        assert!(matches!(of_bind(&answer(10, "", &[])), Err(ProviderError::Refused(_))));
        assert!(matches!(
            of_bind(&answer(51, "", &[])),
            Err(ProviderError::Unavailable(_))
        ));
    }

    #[test]
    fn an_account_that_is_closed_is_seen_in_its_entry() {
        let now = Timestamp::from_seconds(1_800_000_000);
        let closed = |name: &str, value: &str| of_entry(&Entry::of("uid=a", &[(name, &[value])]), now).is_some();
        for (name, open, shut) in [
            ("userAccountControl", "512", "514"),
            ("accountExpires", "9223372036854775807", "131000000000000000"),
            ("accountExpires", "0", "131000000000000000"),
            ("pwdAccountLockedTime", "20261120120000Z", "000001010000Z"),
            ("pwdEndTime", "20991231235959Z", "20200101000000Z"),
            ("krbPrincipalExpiration", "20991231235959Z", "20200101000000Z"),
            ("nsAccountLock", "FALSE", "TRUE"),
            ("loginDisabled", "false", "TRUE"),
            ("shadowExpire", "-1", "1"),
            ("shadowExpire", "99999", "18000"),
        ] {
            assert!(!closed(name, open), "{name} {open}");
            assert!(closed(name, shut), "{name} {shut}");
        }
    }
}
