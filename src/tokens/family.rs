//! Families: what one consent, one device or one secret gave, as access tokens and a refresh token that changes with each
//! use (RFC 6749, 6; RFC 9700, 4.14).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{Identity, Scope, Secret, Timestamp};
use crate::store::seal::digest;
use crate::store::vault::{Id, Next};

use super::ticket::{Kind, Ticket};
use super::{Result, Token, Tokens};

/// A refresh token that was used gives the same successor again for so long: the answer may have been lost on the way, and
/// many processes may share one file.
const GRACE: Duration = Duration::from_secs(60);
/// Refreshing this often within the grace is no training job's need; older ones are then used up before their time.
const ROTATIONS_KEPT: usize = 256;

/// By which grant a family came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    AuthorizationCode,
    DeviceCode,
    ClientCredentials,
    TokenExchange,
}

/// What a token record holds besides, where it is a family.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Family {
    pub client: String,
    pub flow: Flow,
    /// Where it was asked for.
    pub address: IpAddr,
    /// The terminal's host name, as claimed.
    pub host: Option<String>,
    /// Of the seed that is in each ticket.
    seed_hash: String,
    refreshes: bool,
    generation: u32,
    /// Of the current generation, and of those before it that may be asked for again; the newest last.
    rotations: Vec<Rotation>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Rotation {
    generation: u32,
    at: Timestamp,
    access_until: Timestamp,
}

/// A family to be opened.
#[derive(Clone)]
pub struct NewFamily {
    /// Of the code that it is for; or random.
    pub id: [u8; 16],
    pub client: String,
    pub name: String,
    pub flow: Flow,
    pub identity: Arc<Identity>,
    pub provider_state: Option<String>,
    /// When the provider last confirmed the groups.
    pub checked: Timestamp,
    pub read_only: bool,
    pub address: IpAddr,
    pub host: Option<String>,
    /// Whether there is a refresh token.
    pub refreshes: bool,
    /// It ends then at the latest.
    pub until: Option<Timestamp>,
}

/// What a client is given.
#[derive(Debug)]
pub struct Issued {
    pub access: Secret,
    pub access_until: Timestamp,
    pub refresh: Option<Secret>,
    pub token: Token,
}

#[derive(Debug)]
pub enum Refreshed {
    Issued(Box<Issued>),
    /// A refresh token came again after its grace: somebody has stolen it, or the one after it. The family has ended.
    Reused(Box<Token>),
    /// None of this client's, or of a family that has ended.
    Unknown,
}

impl Family {
    pub(super) fn is_of(&self, ticket: &Ticket) -> bool {
        self.seed_hash == hash(&ticket.seed)
    }

    /// When the refresh token was last used; `None` where there is none.
    pub(super) fn refreshed(&self) -> Option<Timestamp> {
        self.rotations.last().filter(|_| self.refreshes).map(|last| last.at)
    }
}

/// What a refresh token is worth, decided in one step.
enum Worth {
    Successor(Box<Token>, Rotation),
    Reused,
    Unknown,
}

impl Tokens {
    /// # Errors
    /// When the store is away: then there is no family.
    pub async fn open(&self, new: NewFamily) -> Result<Issued> {
        let now = self.clock.now();
        let seed: [u8; 16] = self.random.bytes();
        let life = if new.refreshes {
            self.settings.refresh_absolute
        } else {
            self.settings.access_lifetime
        };
        let end = now.plus(life);
        let expires = new.until.map_or(end, |until| until.min(end));
        let rotation = Rotation {
            generation: 0,
            at: now,
            access_until: now.plus(self.settings.access_lifetime).min(expires),
        };
        let id = Id::new(new.id);
        let token = Token {
            id: id.to_string(),
            name: new.name,
            identity: new.identity,
            scope: Scope::reading(new.read_only),
            created: now,
            expires,
            last_used: None,
            checked: new.checked,
            provider_state: new.provider_state,
            family: Some(Family {
                client: new.client,
                flow: new.flow,
                address: new.address,
                host: new.host,
                seed_hash: hash(&seed),
                refreshes: new.refreshes,
                generation: 0,
                rotations: vec![rotation],
            }),
        };
        let ttl = self.ttl(&token, now);
        let token = self.vault.put(id, token, ttl).await?;
        Ok(self.issue(Token::clone(&token), new.id, seed, rotation, new.refreshes))
    }

    /// The next tokens for a refresh token; for one that was used within the grace, the same again.
    ///
    /// # Errors
    /// When the store is away: then nothing was used up.
    pub async fn refresh(&self, client: &str, text: &str) -> Result<Refreshed> {
        let now = self.clock.now();
        let Some(ticket) = self.mint.read(Kind::Refresh, text).filter(|ticket| now < ticket.until) else {
            return Ok(Refreshed::Unknown);
        };
        let worth = self
            .vault
            .decide(ticket.record(), |token| self.worth(client, &ticket, token, now))
            .await?;
        match worth.unwrap_or(Worth::Unknown) {
            Worth::Successor(token, rotation) => {
                let issued = self.issue(*token, ticket.id, ticket.seed, rotation, true);
                Ok(Refreshed::Issued(Box::new(issued)))
            }
            Worth::Reused => {
                let ended = self.vault.remove(ticket.record()).await?;
                // Of many at once, one has ended it.
                Ok(ended.map_or(Refreshed::Unknown, |token| Refreshed::Reused(Box::new(token))))
            }
            Worth::Unknown => Ok(Refreshed::Unknown),
        }
    }

    fn worth(&self, client: &str, ticket: &Ticket, token: Token, now: Timestamp) -> Next<Token, Worth> {
        let family = match &token.family {
            Some(family) if family.refreshes && family.client == client && family.is_of(ticket) => family,
            _ => return Next::Keep(Worth::Unknown),
        };
        if ticket.generation == family.generation {
            let rotation = Rotation {
                generation: family.generation.saturating_add(1),
                at: now,
                access_until: now.plus(self.settings.access_lifetime).min(token.expires),
            };
            let next = token.clone().rotated(rotation);
            let ttl = self.ttl(&next, now);
            return Next::Become(next.clone(), ttl, Worth::Successor(Box::new(next), rotation));
        }
        let again = family.rotations.iter().find(|rotation| {
            rotation.generation.checked_sub(1) == Some(ticket.generation) && now.since(rotation.at) < GRACE
        });
        match again.copied() {
            Some(rotation) => Next::Keep(Worth::Successor(Box::new(token), rotation)),
            None if ticket.generation < family.generation => Next::Keep(Worth::Reused),
            None => Next::Keep(Worth::Unknown),
        }
    }

    /// The family of a refresh or an access token, whatever its age within the family; `None` for anything else.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn family_of(&self, text: &str) -> Result<Option<Token>> {
        let now = self.clock.now();
        let ticket = self
            .mint
            .read(Kind::Refresh, text)
            .or_else(|| self.mint.read(Kind::Access, text))
            .filter(|ticket| now < ticket.until);
        let Some(ticket) = ticket else { return Ok(None) };
        let token = self.vault.read(ticket.record()).await?;
        Ok(token.filter(|token| token.family.as_ref().is_some_and(|family| family.is_of(&ticket))))
    }

    fn issue(&self, token: Token, id: [u8; 16], seed: [u8; 16], rotation: Rotation, refreshes: bool) -> Issued {
        let write = |kind, until| {
            let ticket = Ticket {
                id,
                seed,
                generation: rotation.generation,
                until,
            };
            Secret::new(self.mint.write(kind, &ticket))
        };
        Issued {
            access: write(Kind::Access, rotation.access_until),
            access_until: rotation.access_until,
            refresh: refreshes.then(|| write(Kind::Refresh, token.expires)),
            token,
        }
    }
}

impl Token {
    fn rotated(mut self, rotation: Rotation) -> Self {
        if let Some(family) = &mut self.family {
            family.rotations.retain(|before| rotation.at.since(before.at) < GRACE);
            let surplus = (family.rotations.len() + 1).saturating_sub(ROTATIONS_KEPT);
            family.rotations.drain(..surplus);
            family.rotations.push(rotation);
            family.generation = rotation.generation;
        }
        self
    }
}

fn hash(seed: &[u8; 16]) -> String {
    hex::encode(digest("token family", &[seed]))
}
