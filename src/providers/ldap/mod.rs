//! Sign-in by an LDAP directory: the person is searched for and then bound as, over a connection of their own.

mod ber;
mod directory;
mod entry;
mod filter;
mod groups;
mod probe;
mod states;
mod wire;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ldap3::Scope;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};

use super::{PasswordProvider, ProviderError, Vouched};
use crate::config::{self, LdapProvider, LdapSchema};
use crate::domain::{Clock, Identity, Secret, Timestamp};

use directory::{Directory, Most, PATIENCE, Question, bind};
use entry::Entry;
use groups::Asker;
use states::State;

/// A wrong name and a wrong password are answered no sooner, so that the time tells nothing of which it was.
const WRONG: Duration = Duration::from_millis(700);
/// People who sign in at one moment: each has a connection, and a flood of guesses must not become one for the directory.
const AT_ONCE: usize = 64;
/// Bytes.
const LONGEST_NAME: usize = 256;

/// What a session keeps for the recheck.
#[derive(Serialize, Deserialize)]
struct Kept {
    dn: String,
}

/// One directory that people sign in with.
#[derive(Clone)]
pub struct Ldap(Arc<Inner>);

struct Inner {
    id: String,
    directory: Directory,
    turns: Semaphore,
    clock: Arc<dyn Clock>,
}

impl Ldap {
    /// Asks nobody yet: the gateway starts when the directory is away.
    ///
    /// # Errors
    /// When the CA file cannot be used.
    pub fn new(id: &str, config: config::LdapProvider, clock: Arc<dyn Clock>) -> Result<Self, String> {
        Ok(Self(Arc::new(Inner {
            id: id.to_owned(),
            directory: Directory::new(config)?,
            turns: Semaphore::new(AT_ONCE),
            clock,
        })))
    }

    /// Whether every server can be used as configured; for `check --connect`.
    ///
    /// # Errors
    /// The key of each thing that is wrong, with what it is.
    pub async fn probe(&self) -> Result<(), Vec<(&'static str, String)>> {
        probe::all(&self.0.directory).await
    }

    /// Apart from the caller, so that nothing that the directory sends can end more than this one question.
    async fn within<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Result<T, ProviderError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ProviderError>> + Send + 'static,
    {
        match tokio::spawn(timeout(PATIENCE, work(self.0.clone()))).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ProviderError::Unavailable(
                "the directory did not answer in time".to_owned(),
            )),
            Err(_) => Err(ProviderError::Refused(
                "the directory's answer cannot be read".to_owned(),
            )),
        }
    }
}

#[async_trait]
impl PasswordProvider for Ldap {
    async fn sign_in(&self, user: &str, password: &Secret) -> Result<Vouched, ProviderError> {
        let begun = Instant::now();
        let answer = if may_be_asked(user, password) {
            let (user, password) = (user.to_owned(), password.clone());
            self.within(|inner| async move { inner.sign_in(&user, &password).await })
                .await
        } else {
            Err(ProviderError::BadPassword)
        };
        if let Err(ProviderError::BadPassword) = answer {
            sleep_until(begun + WRONG).await;
        }
        answer
    }

    fn canonical(&self, user: &str) -> String {
        canonical(&self.0.directory.config, user)
    }

    async fn recheck(&self, identity: &Identity, state: Option<&str>) -> Result<Vouched, ProviderError> {
        let (identity, state) = (identity.clone(), state.map(str::to_owned));
        self.within(|inner| async move { inner.recheck(&identity, state.as_deref()).await })
            .await
    }

    async fn health(&self) -> Result<(), ProviderError> {
        self.within(|inner| async move {
            let root = Question {
                base: "",
                scope: Scope::Base,
                filter: "(objectClass=*)",
                attributes: &["1.1"],
                most: Most::Enough(1),
            };
            inner.directory.search(root).await.map(drop)
        })
        .await
    }
}

/// A bind with an empty password succeeds as nobody (RFC 4513, 5.1.2), and with NUL some see half of it.
fn may_be_asked(user: &str, password: &Secret) -> bool {
    let password = password.expose();
    let name = user.trim();
    !password.is_empty()
        && !password.contains('\0')
        && !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.chars().any(char::is_control)
}

/// One spelling, whatever was typed: directories compare names without case, without regard to spaces.
fn canonical(config: &LdapProvider, user: &str) -> String {
    let name = super::local::canonical(user);
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    // Where one person has several names, the part before the @ is what they have in common.
    let several = config.user_filter.matches("{username}").count() > 1;
    match name.split_once('@') {
        Some((local, _)) if several && !local.is_empty() => local.to_owned(),
        _ => name,
    }
}

impl Inner {
    fn config(&self) -> &LdapProvider {
        &self.directory.config
    }

    async fn sign_in(&self, user: &str, password: &Secret) -> Result<Vouched, ProviderError> {
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|_| ProviderError::Unavailable("too many sign-ins at once".to_owned()))?;
        let user = user.trim();
        let person = match &self.config().user_dn {
            Some(template) => {
                let dn = filter::dn(template, user);
                let link = self.directory.connect().await?;
                self.bind(&link, &dn, password).await?;
                // With an account of the gateway's own, groups come from the same view as at the recheck.
                let asker = match self.config().bind {
                    Some(_) => Asker::Gateway(&self.directory),
                    None => Asker::Person(&link),
                };
                let any = filter::of_any_user(&self.config().user_filter);
                let found = self.one(asker, &dn, Scope::Base, &any).await?;
                let person = found.ok_or_else(|| {
                    tracing::info!(
                        provider = self.id,
                        "the password is right, but the entry cannot be read or does not pass user_filter"
                    );
                    states::barred()
                })?;
                return self.vouch(asker, &person, None, self.clock.now()).await;
            }
            None => {
                let filter = filter::of_user(&self.config().user_filter, user);
                self.one(
                    Asker::Gateway(&self.directory),
                    &self.config().user_base,
                    Scope::Subtree,
                    &filter,
                )
                .await?
            }
        };
        let link = self.directory.connect().await?;
        let Some(person) = person.filter(|person| is_named(self.config(), person, user)) else {
            // The same work as for somebody who is there.
            let nobody = format!("cn=nobody is called this,{}", self.config().user_base);
            let _ = bind(&link, &nobody, password).await?;
            return Err(ProviderError::BadPassword);
        };
        self.bind(&link, &person.dn, password).await?;
        self.vouch(Asker::Gateway(&self.directory), &person, None, self.clock.now())
            .await
    }

    /// Whether the password is this entry's.
    async fn bind(&self, link: &wire::Link, dn: &str, password: &Secret) -> Result<(), ProviderError> {
        // A bind without a DN succeeds as nobody.
        if dn.is_empty() || password.is_empty() {
            return Err(ProviderError::BadPassword);
        }
        let result = bind(link, dn, password).await?;
        match states::of_bind(&result)? {
            None => Ok(()),
            Some(state) => {
                self.tell(dn, state);
                Err(state.into())
            }
        }
    }

    /// The log alone tells which state it is.
    fn tell(&self, dn: &str, state: State) {
        let dn: String = dn.chars().take(300).collect();
        tracing::info!(provider = self.id, dn = ?dn, state = state.cause(), "the directory does not let somebody in");
    }

    async fn recheck(&self, identity: &Identity, state: Option<&str>) -> Result<Vouched, ProviderError> {
        let kept = state.and_then(|state| serde_json::from_str::<Kept>(state).ok());
        let asker = Asker::Gateway(&self.directory);
        let person = self.again(asker, identity, kept.as_ref()).await?;
        let gone = || ProviderError::AccountRefused("the directory knows no such user any more".to_owned());
        // An operator's word for somebody who has not signed in yet has a name alone.
        let by_name = state.is_none() && identity.subject == identity.user;
        let subject = (!by_name).then_some(identity.subject.as_str());
        self.vouch(asker, &person.ok_or_else(gone)?, subject, identity.authenticated_at)
            .await
    }

    /// The entry of somebody who has signed in before; whoever has their name or DN now, but is another, is nobody.
    async fn again(
        &self,
        asker: Asker<'_>,
        identity: &Identity,
        kept: Option<&Kept>,
    ) -> Result<Option<Entry>, ProviderError> {
        let config = self.config();
        let any = filter::of_any_user(&config.user_filter);
        let is_same = |person: &Entry| subject_of(config.schema, person) == identity.subject;
        if let Some(kept) = kept
            && let Some(person) = self.one(asker, &kept.dn, Scope::Base, &any).await?
            && is_same(&person)
        {
            return Ok(Some(person));
        }
        let (base, scope, filter) = match by_subject(config.schema, &identity.subject) {
            Some(unique) => (config.user_base.as_str(), Scope::Subtree, filter::both(&unique, &any)),
            None if identity.subject != identity.user => (identity.subject.as_str(), Scope::Base, any),
            None => {
                let by_name = filter::of_user(&config.user_filter, &identity.user);
                return self.one(asker, &config.user_base, Scope::Subtree, &by_name).await;
            }
        };
        Ok(self.one(asker, base, scope, &filter).await?.filter(is_same))
    }

    /// The one entry that a filter finds; `None` for none, and for several, of which none is meant.
    async fn one(
        &self,
        asker: Asker<'_>,
        base: &str,
        scope: Scope,
        filter: &str,
    ) -> Result<Option<Entry>, ProviderError> {
        let mut attributes = vec![
            self.config().user_name.as_str(),
            "entryUUID",
            "objectGUID",
            "displayName",
            "cn",
            "mail",
            "primaryGroupID",
            "objectSid",
        ];
        attributes.extend(states::ATTRIBUTES);
        attributes.extend(filter::naming(&self.config().user_filter));
        let question = Question {
            base,
            scope,
            filter,
            attributes: &attributes,
            most: Most::Enough(2),
        };
        let mut found = asker.ask(question).await?;
        if found.len() > 1 {
            tracing::warn!(
                provider = self.id,
                "user_filter finds several people for one name: none of them is let in"
            );
            return Ok(None);
        }
        Ok(found.pop().filter(|person| !person.dn.is_empty()))
    }

    /// `subject` is what the person was called before; whoever comes for the first time is called what the entry says.
    async fn vouch(
        &self,
        asker: Asker<'_>,
        person: &Entry,
        subject: Option<&str>,
        authenticated_at: Timestamp,
    ) -> Result<Vouched, ProviderError> {
        if let Some(cause) = states::of_entry(person, self.clock.now()) {
            self.tell(&person.dn, State::Barred(cause));
            return Err(states::barred());
        }
        let user = user_name(self.config(), person)?;
        let groups = groups::of_person(asker, self.config(), person, &user).await?;
        let kept = Kept { dn: person.dn.clone() };
        let state = serde_json::to_string(&kept).map_err(|error| ProviderError::Unavailable(error.to_string()))?;
        let identity = Identity {
            provider: self.id.clone(),
            subject: subject.map_or_else(|| subject_of(self.config().schema, person), str::to_owned),
            user,
            display_name: person.text("displayName").or(person.text("cn")).map(str::to_owned),
            email: person.text("mail").map(str::to_owned),
            groups,
            authenticated_at,
        };
        Ok(Vouched::new(identity, Some(state)))
    }
}

/// Whether a found person has the typed name in the spelling that guesses are counted by. Active Directory finds `jose` by
/// `José` too: each accent would be a new counter.
fn is_named(config: &LdapProvider, person: &Entry, typed: &str) -> bool {
    let typed = canonical(config, typed);
    let naming = filter::naming(&config.user_filter);
    naming.is_empty()
        || naming
            .iter()
            .flat_map(|attribute| person.texts(attribute))
            .any(|name| canonical(config, name) == typed)
}

/// The name that the directory gives: of several the one in the DN, else the first by the alphabet, whichever was typed.
fn user_name(config: &LdapProvider, person: &Entry) -> Result<String, ProviderError> {
    let names: Vec<_> = person.texts(&config.user_name).collect();
    let start = person.dn.to_lowercase();
    let in_dn = names
        .iter()
        .find(|name| start.starts_with(&format!("{}={},", config.user_name, ldap3::dn_escape(**name)).to_lowercase()));
    let name = in_dn.or(names.iter().min()).copied().unwrap_or_default();
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(ProviderError::Refused(format!(
            "the entry has no {} that could be a user name",
            config.user_name
        )));
    }
    Ok(name.to_owned())
}

/// What the directory never gives to another entry: its unique id, or where there is none the DN.
fn subject_of(schema: LdapSchema, person: &Entry) -> String {
    let unique = match schema {
        LdapSchema::ActiveDirectory => person.bytes("objectGUID").and_then(entry::guid),
        LdapSchema::Rfc2307 | LdapSchema::Rfc2307bis => person.text("entryUUID").map(str::to_lowercase),
    };
    unique.unwrap_or_else(|| person.dn.clone())
}

/// The filter for a unique id; `None` where the subject is none.
fn by_subject(schema: LdapSchema, subject: &str) -> Option<String> {
    let bytes = entry::guid_bytes(subject)?;
    Some(match schema {
        LdapSchema::ActiveDirectory => filter::of_bytes("objectGUID", &bytes),
        LdapSchema::Rfc2307 | LdapSchema::Rfc2307bis => format!("(entryUUID={})", ldap3::ldap_escape(subject)),
    })
}

#[cfg(test)]
mod tests;
