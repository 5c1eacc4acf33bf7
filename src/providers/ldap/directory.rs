//! Asking a directory: several servers tried in turn, one shared connection for searches, a new one for each person's bind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ldap3::adapters::{Adapter, PagedResults};
use ldap3::{DerefAliases, LdapError, LdapResult, Scope, SearchOptions};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::entry::Entry;
use super::states::{failed, policy_request, told};
use super::wire::{self, Link};
use crate::config::{LdapProvider, LdapUrl};
use crate::domain::Secret;
use crate::outbound::tls;
use crate::providers::ProviderError;

/// Nobody waits longer for a directory, whatever it takes. Refusals are promised within 5 s.
pub(super) const PATIENCE: Duration = Duration::from_millis(4500);
/// One question, and its whole answer.
const QUESTION: Duration = Duration::from_millis(3500);
/// Connecting to all servers together.
const CONNECTING: Duration = Duration::from_millis(4000);
/// Small, because some servers refuse larger ones; whoever is in hundreds of groups is asked for in several pages.
const PAGE: i32 = 50;

const NO_SUCH_OBJECT: u32 = 32;
const SIZE_LIMIT: u32 = 4;

/// What is searched for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) base: &'a str,
    pub(super) scope: Scope,
    pub(super) filter: &'a str,
    pub(super) attributes: &'a [&'a str],
    pub(super) most: Most,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Most {
    /// The directory may stop after so many.
    Enough(u16),
    /// All of them, in pages; more than this is an error, for half an answer would be a wrong one.
    All(usize),
}

pub(super) struct Directory {
    pub(super) config: LdapProvider,
    tls: TlsConnector,
    service: Mutex<Option<Link>>,
    /// The server that answered last, or is to be tried next: an index into the configuration's list.
    preferred: AtomicUsize,
}

impl Directory {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// When the CA file cannot be used.
    pub(super) fn new(config: LdapProvider) -> Result<Self, String> {
        Ok(Self {
            tls: tls::trusting(config.ca_file.as_deref())?,
            config,
            service: Mutex::default(),
            preferred: AtomicUsize::new(0),
        })
    }

    /// A new connection, bound as nobody, to the first server that gives one.
    pub(super) async fn connect(&self) -> Result<Link, ProviderError> {
        let urls = &self.config.urls;
        let first = self.preferred.load(Ordering::Relaxed);
        let share = CONNECTING / u32::try_from(urls.len()).unwrap_or(u32::MAX).max(1);
        let mut told = None;
        for index in (0..urls.len()).map(|offset| (first + offset) % urls.len()) {
            match self.open(&urls[index], share).await {
                Ok(link) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(link);
                }
                Err(error) => {
                    tracing::warn!(server = %urls[index], %error, "a directory server cannot be used");
                    // Also for whoever comes before this one is through with a server that is silent.
                    self.preferred.store((index + 1) % urls.len(), Ordering::Relaxed);
                    // TLS that does not hold tells more than a server that is away.
                    if !matches!(told, Some(ProviderError::Refused(_))) {
                        told = Some(error);
                    }
                }
            }
        }
        Err(told.unwrap_or_else(|| ProviderError::Unavailable("no server is configured".to_owned())))
    }

    /// A new connection to one server.
    pub(super) async fn open(&self, url: &LdapUrl, limit: Duration) -> Result<Link, ProviderError> {
        timeout(limit, wire::open(url, self.config.start_tls, &self.tls))
            .await
            .unwrap_or_else(|_| Err(ProviderError::Unavailable(format!("{url} did not answer in time"))))
    }

    /// Binds a connection as the gateway's own account, where there is one.
    pub(super) async fn bind_as_gateway(&self, link: &Link) -> Result<(), ProviderError> {
        let Some((dn, password)) = &self.config.bind else {
            return Ok(());
        };
        let result = bind(link, dn, password).await?;
        match result.rc {
            0 => Ok(()),
            8 | 10 | 13 | 51 | 52 => Err(failed(&result)),
            _ => Err(ProviderError::Unavailable(format!(
                "the directory refuses the gateway's own account (bind_dn): {}",
                told(&result)
            ))),
        }
    }

    /// Searches as the gateway's own account. A connection that was lost since the last question is made anew, once.
    pub(super) async fn search(&self, question: Question<'_>) -> Result<Vec<Entry>, ProviderError> {
        let (link, is_new) = self.service().await?;
        let lost = match search(&link, question).await {
            Err(Failed::Lost(_)) if !is_new => true,
            answer => return self.settled(answer).await,
        };
        if lost {
            self.forget().await;
        }
        let (link, _) = self.service().await?;
        self.settled(search(&link, question).await).await
    }

    async fn settled(&self, answer: Result<Vec<Entry>, Failed>) -> Result<Vec<Entry>, ProviderError> {
        // Whoever did not answer in time is not asked over the same connection again.
        if let Err(Failed::Lost(_) | Failed::Slow) = answer {
            self.forget().await;
        }
        answer.map_err(ProviderError::from)
    }

    /// The shared connection, and whether it was made for this call.
    async fn service(&self) -> Result<(Link, bool), ProviderError> {
        let mut service = self.service.lock().await;
        if let Some(link) = service.as_mut()
            && !link.ldap.is_closed()
        {
            return Ok((link.clone(), false));
        }
        *service = None;
        let link = self.connect().await?;
        self.bind_as_gateway(&link).await?;
        *service = Some(link.clone());
        Ok((link, true))
    }

    async fn forget(&self) {
        *self.service.lock().await = None;
    }
}

/// Why a search has no answer.
#[derive(Debug)]
pub(super) enum Failed {
    Lost(LdapError),
    Slow,
    Said(ProviderError),
}

impl From<LdapError> for Failed {
    fn from(error: LdapError) -> Self {
        match error {
            LdapError::LdapResult { result } => Self::Said(failed(&result)),
            LdapError::FilterParsing => Self::Said(ProviderError::Refused("a filter that cannot be sent".to_owned())),
            lost => Self::Lost(lost),
        }
    }
}

impl From<Failed> for ProviderError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Lost(error) => Self::Unavailable(format!("the connection to the directory is lost: {error}")),
            Failed::Slow => Self::Unavailable("the directory did not answer in time".to_owned()),
            Failed::Said(error) => error,
        }
    }
}

/// Binds a connection, asking for the password policy's word. The caller has refused empty passwords (RFC 4513, 5.1.2).
pub(super) async fn bind(link: &Link, dn: &str, password: &Secret) -> Result<LdapResult, ProviderError> {
    let mut ldap = link.ldap.clone();
    let bind = ldap
        .with_controls(vec![policy_request()])
        .simple_bind(dn, password.expose());
    let result = timeout(QUESTION, bind).await.map_err(|_| Failed::Slow)?;
    Ok(result.map_err(Failed::from)?)
}

/// References to elsewhere are left where they are; an entry that is not there is an empty answer.
pub(super) async fn search(link: &Link, question: Question<'_>) -> Result<Vec<Entry>, Failed> {
    timeout(QUESTION, collect(link, question))
        .await
        .unwrap_or(Err(Failed::Slow))
}

async fn collect(link: &Link, question: Question<'_>) -> Result<Vec<Entry>, Failed> {
    let mut ldap = link.ldap.clone();
    let mut options = SearchOptions::new().deref(DerefAliases::Never).timelimit(4);
    let mut adapters: Vec<Box<dyn Adapter<'_, _, _>>> = Vec::new();
    let most = match question.most {
        Most::Enough(most) => {
            options = options.sizelimit(i32::from(most));
            usize::from(most)
        }
        Most::All(most) => {
            adapters.push(Box::new(PagedResults::new(PAGE)));
            most
        }
    };
    let attributes = question.attributes.to_vec();
    let mut stream = ldap
        .with_search_options(options)
        .streaming_search_with(adapters, question.base, question.scope, question.filter, attributes)
        .await?;
    let mut found = Vec::new();
    while let Some(result) = stream.next().await? {
        if result.is_ref() || result.is_intermediate() {
            continue;
        }
        let Some(entry) = Entry::read(result) else {
            return Err(Failed::Said(ProviderError::Refused(
                "an entry that cannot be read".to_owned(),
            )));
        };
        if found.len() == most {
            // Samba, for one, does not count.
            let asked = stream.ldap_handle().last_id();
            stream.finish().await;
            ldap.abandon(asked).await?;
            return match question.most {
                Most::Enough(_) => Ok(found),
                Most::All(_) => Err(Failed::Said(ProviderError::Refused(format!(
                    "the directory answers with more than {most} entries"
                )))),
            };
        }
        found.push(entry);
    }
    let result = stream.finish().await;
    match (result.rc, question.most) {
        (0, _) | (SIZE_LIMIT, Most::Enough(_)) => Ok(found),
        (NO_SUCH_OBJECT, _) => Ok(Vec::new()),
        _ => Err(Failed::Said(failed(&result))),
    }
}
