//! Why something did not happen, for a person. What programs are told is in English and may say more; it follows as a detail.

use crate::domain::{Access, Reason, ReasonCode};
use crate::login::oauth2::OauthError;
use crate::mlflow::MlflowError;
use crate::outbound::UpstreamError;
use crate::pipeline::{Stopped, Told};

use super::{Fill, Words};

/// A sentence in the person's language, and what is known beyond it, in English.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub text: String,
    pub detail: Option<String>,
}

impl Words {
    fn is_english(&self) -> bool {
        self.tag == Self::english().tag
    }

    /// The translation of an English sentence that says it all.
    fn instead(&self, english: &str, text: impl Into<String>) -> Said {
        Said {
            text: match self.is_english() {
                true => english.to_owned(),
                false => text.into(),
            },
            detail: None,
        }
    }

    /// The translation of what an English sentence begins to say.
    fn roughly(&self, english: &str, text: &str) -> Said {
        match self.is_english() {
            true => self.instead(english, text),
            false => Said {
                text: text.to_owned(),
                detail: Some(english.to_owned()),
            },
        }
    }

    pub fn stopped(&self, stopped: &Stopped, told: &Told) -> Said {
        let english = told.reason.text.as_str();
        let text = match stopped {
            Stopped::Malformed(_) | Stopped::NotUnderstood(MlflowError::Malformed(_)) => {
                return self.roughly(english, self.malformed);
            }
            Stopped::BadJwt(_) => return self.roughly(english, self.bad_credential),
            Stopped::Refused(refusal) => {
                let user = refusal.caller.as_ref().map(|caller| caller.identity.user.as_str());
                return self.reason(&told.reason, user, refusal.missing());
            }
            Stopped::Network => self.network_refused,
            Stopped::HeadersTooLarge => self.headers_too_large,
            Stopped::Elsewhere => self.elsewhere,
            Stopped::UnknownHost => self.unknown_host,
            Stopped::NotSignedIn => self.not_signed_in,
            Stopped::AskAgain(_) => self.ask_again,
            Stopped::BadCredential => self.bad_credential,
            Stopped::IssuerAway => self.issuer_away,
            Stopped::CrossSite => self.cross_site,
            Stopped::TooOften(_) => self.too_often,
            Stopped::StoreAway => self.store_away,
            Stopped::ProviderAway => self.groups_unknown,
            Stopped::Busy | Stopped::NotUnderstood(MlflowError::Busy) => self.busy,
            Stopped::TrailAway => self.trail_away,
            Stopped::TooSlow | Stopped::NotUnderstood(MlflowError::TooSlow) => self.too_slow,
            Stopped::ClientLeft | Stopped::NotUnderstood(MlflowError::ClientLeft) => self.client_left,
            Stopped::NotUnderstood(MlflowError::UnknownRoute) => self.unknown_route,
            Stopped::NotUnderstood(MlflowError::TooLarge) => self.body_too_large,
            Stopped::NotUnderstood(MlflowError::Upstream(_)) => self.upstream_failed,
            Stopped::NotUnderstood(MlflowError::Timeout) | Stopped::Upstream(UpstreamError::Timeout) => {
                self.upstream_timeout
            }
            Stopped::NotUnderstood(MlflowError::NotReady) => self.not_ready,
            Stopped::Upstream(UpstreamError::Unreachable(_)) => self.upstream_unreachable,
            Stopped::Upstream(UpstreamError::Broken(_)) => self.upstream_broken,
            Stopped::Upstream(UpstreamError::TooLarge) => self.upstream_too_large,
        };
        self.instead(english, text)
    }

    /// A refusal's own sentence. `missing` is the access that was not granted.
    pub fn reason(&self, reason: &Reason, user: Option<&str>, missing: Option<&Access>) -> Said {
        let english = reason.text.as_str();
        let text = match (reason.code, missing) {
            (ReasonCode::NotGranted | ReasonCode::Denied, Some(access)) => {
                return self.instead(english, self.missing(access));
            }
            (ReasonCode::NotGranted | ReasonCode::Denied, None) => return self.roughly(english, self.not_granted),
            (ReasonCode::NoRole, _) => {
                let text = self.no_role.with("user", user.unwrap_or_default());
                return self.instead(english, text.to_string());
            }
            (ReasonCode::AccountRefused, _) => return self.roughly(english, self.account_refused),
            (ReasonCode::ProviderRefused, _) => self.provider_refused,
            (ReasonCode::NotSignedIn, _) => self.not_signed_in,
            (ReasonCode::UnknownRoute, _) => self.unknown_route,
            (ReasonCode::ReadOnlyToken, _) => self.read_only_token,
            (ReasonCode::TokenScope, _) => self.token_scope,
            (ReasonCode::CrossSite, _) => self.cross_site,
            (ReasonCode::NetworkRefused, _) => self.network_refused,
            _ => return self.roughly(english, self.refused_otherwise),
        };
        self.instead(english, text)
    }

    /// What to do about a refusal, and whom to ask.
    pub fn remedy(&self, code: ReasonCode, whom: &str) -> String {
        let text = match code {
            ReasonCode::NoRole => self.ask_for_role,
            ReasonCode::NotGranted | ReasonCode::Denied => self.ask_for_more,
            ReasonCode::UnknownRoute => self.tell_of_route,
            ReasonCode::CrossSite => return self.go_back.to_owned(),
            ReasonCode::AccountRefused | ReasonCode::ProviderRefused => self.another_account,
            ReasonCode::NetworkRefused => self.another_network,
            _ => self.if_wrong,
        };
        text.with("whom", whom).to_string()
    }

    pub fn oauth(&self, error: &OauthError) -> Said {
        let english = error.description();
        match error {
            OauthError::TooOften(_) => self.instead(english, self.oauth_too_often),
            OauthError::Unavailable => self.instead(english, self.oauth_away),
            _ => self.roughly(english, self.oauth_wrong),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::{Kind, Permission, Resource};

    use super::super::{LANGUAGES, de};
    use super::*;

    #[test]
    fn a_refusal_says_what_is_missing_in_every_language() {
        let access = Access::on(Permission::Edit, Resource::named(Kind::Experiment, "fraud/a"));
        let reason = Reason::new(ReasonCode::NotGranted, "This needs EDIT on the experiment 'fraud/a'.");
        for words in LANGUAGES {
            let said = words.reason(&reason, None, Some(&access));
            assert!(said.text.contains("EDIT") && said.text.contains("fraud/a"), "{said:?}");
            assert_eq!(said.detail, None, "nothing is left in English");
        }
        assert_eq!(Words::english().missing(&access), reason.text);
    }

    #[test]
    fn what_an_id_stands_for_stays_unsaid_in_every_language() {
        let hidden = [
            Access::on(Permission::Read, Resource::one(Kind::Experiment, "7", "secret")),
            Access::on(Permission::Read, Resource::unknown(Kind::Experiment, "7")),
        ];
        for words in LANGUAGES {
            let [there, not_there] = hidden.each_ref().map(|access| words.missing(access));
            assert_eq!(there, not_there, "{}", words.tag);
            assert!(!there.contains("secret"), "{there}");
        }
    }

    #[test]
    fn what_only_the_english_text_knows_follows_it() {
        let reason = Reason::new(
            ReasonCode::AccountRefused,
            "This account may not come in: it is locked.",
        );
        let said = de::WORDS.reason(&reason, None, None);
        assert_eq!(said.detail.as_deref(), Some(reason.text.as_str()));
        assert_ne!(said.text, reason.text);
        assert_eq!(Words::english().reason(&reason, None, None).detail, None);
    }
}
