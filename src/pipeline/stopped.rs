//! Every way a request can end early, and the one table of what its sender is told.

use std::time::Duration;

use crate::domain::{Reason, ReasonCode};
use crate::mlflow::{self, MlflowError};
use crate::outbound::UpstreamError;
use crate::policy::Refusal;

/// Why a request went no further.
#[derive(Debug)]
pub enum Stopped {
    /// `[network]` keeps this address out.
    Network,
    /// More bytes of headers than `limits.header_size`.
    HeadersTooLarge,
    /// A request line or header that cannot be: said in the text.
    Malformed(String),
    /// Outside of `public_url`'s path.
    Elsewhere,
    /// No upstream answers to this host.
    UnknownHost,
    NotSignedIn,
    /// A page was asked for with a session that its provider must vouch for again, through the browser.
    AskAgain(String),
    /// A credential was shown, and it is none.
    BadCredential,
    /// A JWT was shown, and it is not one of a workload that is trusted: said in the text.
    BadJwt(String),
    /// The keys of a trusted issuer cannot be had.
    IssuerAway,
    /// A change signed by a cookie that does not come from our own pages.
    CrossSite,
    /// More than `limits.requests`; again after this.
    TooOften(Duration),
    Refused(Box<Refusal<mlflow::Request>>),
    NotUnderstood(MlflowError),
    /// Sessions or tokens cannot be looked up.
    StoreAway,
    /// The identity provider cannot confirm the person's groups, and what it said last is too old.
    ProviderAway,
    /// More ingresses ask at once than are answered in time.
    Busy,
    /// The trail cannot be written, and `audit.on_failure` is `refuse`.
    TrailAway,
    /// The body moves less than 1 KiB in 30 s.
    TooSlow,
    ClientLeft,
    Upstream(UpstreamError),
}

/// What the sender of a stopped request is told, as program or as person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub status: u16,
    /// One of MLflow's own error codes.
    pub error_code: &'static str,
    pub reason: Reason,
    /// Seconds.
    pub retry_after: Option<u32>,
}

impl Stopped {
    /// The table. `login` is the URL at which a person signs in.
    pub fn told(&self, login: &str) -> Told {
        use ReasonCode as Code;
        match self {
            Self::Network => refused(Code::NetworkRefused, "Your address may not connect to this gateway."),
            Self::HeadersTooLarge => told(
                431,
                INVALID,
                Code::TooLarge,
                "The request's headers are larger than the gateway takes.",
            ),
            Self::Malformed(text) => told(400, INVALID, Code::Malformed, text),
            Self::Elsewhere => told(
                404,
                NOT_FOUND,
                Code::UnknownRoute,
                "Nothing of MLflow is served at this path.",
            ),
            Self::UnknownHost => told(
                421,
                INVALID,
                Code::UnknownRoute,
                "No MLflow server is configured for this host name.",
            ),
            Self::NotSignedIn => told(
                401,
                UNAUTHENTICATED,
                Code::NotSignedIn,
                &sign_in("You are not signed in.", login),
            ),
            Self::AskAgain(_) => told(
                401,
                UNAUTHENTICATED,
                Code::NotSignedIn,
                "Your identity provider is asked again who you are.",
            ),
            Self::BadCredential => told(
                401,
                UNAUTHENTICATED,
                Code::BadCredential,
                &sign_in("The credential is not valid: unknown, ended or revoked.", login),
            ),
            Self::BadJwt(text) => told(401, UNAUTHENTICATED, Code::BadCredential, &sign_in(text, login)),
            Self::IssuerAway => away("The gateway cannot get the keys of the token's issuer at this moment."),
            Self::CrossSite => refused(
                Code::CrossSite,
                "A change signed by the session cookie must come from the gateway's own pages; a script sends a token instead.",
            ),
            Self::TooOften(wait) => Told {
                retry_after: Some(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).max(1)),
                ..told(
                    429,
                    "REQUEST_LIMIT_EXCEEDED",
                    Code::RateLimited,
                    "More requests come from you than this gateway lets through.",
                )
            },
            Self::Refused(refusal) => told_refusal(&refusal.reason, login),
            Self::NotUnderstood(error) => told_mlflow(error),
            Self::StoreAway => away("The gateway cannot look up sessions at this moment. Nobody was signed out."),
            Self::ProviderAway => away(
                "Your identity provider cannot be reached, so the gateway cannot tell your groups. Nobody was signed out.",
            ),
            Self::TrailAway => away("The gateway cannot write its audit trail, and lets nothing through without."),
            Self::Busy => Told {
                retry_after: Some(1),
                ..away("The gateway is asked more than it can answer in time.")
            },
            Self::TooSlow => told(408, INVALID, Code::Malformed, "The request's body came too slowly."),
            Self::ClientLeft => told(499, INVALID, Code::ClientLeft, "The client went away."),
            Self::Upstream(error) => told_upstream(error),
        }
    }
}

const INVALID: &str = "INVALID_PARAMETER_VALUE";
const UNAUTHENTICATED: &str = "UNAUTHENTICATED";
const DENIED: &str = "PERMISSION_DENIED";
const NOT_FOUND: &str = "RESOURCE_DOES_NOT_EXIST";
const UNAVAILABLE: &str = "TEMPORARILY_UNAVAILABLE";

fn told(status: u16, error_code: &'static str, code: ReasonCode, text: &str) -> Told {
    Told {
        status,
        error_code,
        reason: Reason::new(code, text),
        retry_after: None,
    }
}

fn refused(code: ReasonCode, text: &str) -> Told {
    told(403, DENIED, code, text)
}

/// Our own fault, and a passing one.
fn away(text: &str) -> Told {
    Told {
        retry_after: Some(5),
        ..told(503, UNAVAILABLE, ReasonCode::Unavailable, text)
    }
}

fn sign_in(what: &str, login: &str) -> String {
    let site = login.trim_end_matches("/auth/login");
    format!(
        "{what} Run `mlgate login {site}`, or set MLFLOW_TRACKING_TOKEN to a personal token; in a browser, open {login}."
    )
}

fn told_refusal(reason: &Reason, login: &str) -> Told {
    let (status, error_code, text) = match reason.code {
        ReasonCode::NotSignedIn => (401, UNAUTHENTICATED, sign_in("You are not signed in.", login)),
        ReasonCode::NoRole | ReasonCode::NotGranted | ReasonCode::Denied => (
            403,
            DENIED,
            format!(
                "{} Ask whoever runs this gateway for a role that grants it.",
                reason.text
            ),
        ),
        ReasonCode::ReadOnlyToken => (403, DENIED, format!("{} Use one that is not read-only.", reason.text)),
        ReasonCode::TokenScope => (403, DENIED, format!("{} Use one that is not.", reason.text)),
        ReasonCode::Granted
        | ReasonCode::Public
        | ReasonCode::BadCredential
        | ReasonCode::UnknownRoute
        | ReasonCode::CrossSite
        | ReasonCode::Malformed
        | ReasonCode::TooLarge
        | ReasonCode::RateLimited
        | ReasonCode::NetworkRefused
        | ReasonCode::BadPassword
        | ReasonCode::AccountRefused
        | ReasonCode::ProviderRefused
        | ReasonCode::UpstreamFailed
        | ReasonCode::UpstreamTimeout
        | ReasonCode::Unavailable
        | ReasonCode::ClientLeft
        | ReasonCode::Requested => (403, DENIED, reason.text.clone()),
    };
    told(status, error_code, reason.code, &text)
}

fn told_mlflow(error: &MlflowError) -> Told {
    use ReasonCode as Code;
    let text = error.to_string();
    match error {
        MlflowError::Malformed(_) => told(400, INVALID, Code::Malformed, &text),
        MlflowError::UnknownRoute => refused(Code::UnknownRoute, "The gateway does not know this route of MLflow."),
        MlflowError::TooLarge => told(413, INVALID, Code::TooLarge, &text),
        MlflowError::ClientLeft => Stopped::ClientLeft.told(""),
        MlflowError::TooSlow => Stopped::TooSlow.told(""),
        MlflowError::Upstream(_) => told(
            502,
            UNAVAILABLE,
            Code::UpstreamFailed,
            "MLflow failed to answer the gateway.",
        ),
        MlflowError::Timeout => told(
            504,
            UNAVAILABLE,
            Code::UpstreamTimeout,
            "MLflow did not answer in time.",
        ),
        MlflowError::Busy => Stopped::Busy.told(""),
        MlflowError::NotReady => away("The gateway does not know MLflow's version yet: it may still be starting."),
    }
}

/// The cause stays in the log: it may name hosts that are nobody's business.
fn told_upstream(error: &UpstreamError) -> Told {
    use ReasonCode as Code;
    let failed = |text| told(502, UNAVAILABLE, Code::UpstreamFailed, text);
    match error {
        UpstreamError::Unreachable(_) => failed("MLflow cannot be reached."),
        UpstreamError::Timeout => told(
            504,
            UNAVAILABLE,
            Code::UpstreamTimeout,
            "MLflow did not answer in time.",
        ),
        UpstreamError::Broken(_) => failed("MLflow's answer broke off."),
        UpstreamError::TooLarge => failed("MLflow's answer is larger than the gateway reads."),
    }
}

impl From<Box<Refusal<mlflow::Request>>> for Stopped {
    fn from(refusal: Box<Refusal<mlflow::Request>>) -> Self {
        Self::Refused(refusal)
    }
}

impl From<UpstreamError> for Stopped {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

impl From<MlflowError> for Stopped {
    fn from(error: MlflowError) -> Self {
        match error {
            MlflowError::ClientLeft => Self::ClientLeft,
            MlflowError::TooSlow => Self::TooSlow,
            MlflowError::Busy => Self::Busy,
            error => Self::NotUnderstood(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_fault_it_was_is_plain() {
        let status = |stopped: Stopped| stopped.told("https://m.example/auth/login").status;
        assert_eq!(
            status(Stopped::Upstream(UpstreamError::Unreachable("10.0.0.1".into()))),
            502
        );
        assert_eq!(status(Stopped::Upstream(UpstreamError::Timeout)), 504);
        assert_eq!(status(Stopped::NotUnderstood(MlflowError::Upstream("x".into()))), 502);
        assert_eq!(status(Stopped::StoreAway), 503);
        assert_eq!(status(Stopped::TrailAway), 503);
    }

    #[test]
    fn an_answer_never_tells_where_mlflow_lives() {
        let told = Stopped::Upstream(UpstreamError::Unreachable("connect 10.0.0.1:5000".into())).told("");
        assert!(!told.reason.text.contains("10.0.0.1"));
    }

    #[test]
    fn who_is_not_signed_in_reads_how_to_do_so() {
        let told = Stopped::NotSignedIn.told("https://m.example/auth/login");
        assert_eq!((told.status, told.error_code), (401, "UNAUTHENTICATED"));
        assert!(
            told.reason.text.contains("`mlgate login https://m.example`"),
            "{}",
            told.reason.text
        );
    }
}
