//! Tickets: what the gateway signs and finds again without a look-up of garbage. Access and refresh tokens of a family,
//! authorization codes and device codes.
//!
//! A ticket names its record, holds the family's seed (of which the record keeps a hash), its place in the family and its
//! end, and a MAC over all of it. So nothing that could be used rests in the store, not even with the gateway's own keys; a
//! successor can be written again, the same to the last character, by every replica; and who has an old ticket cannot write
//! a newer one.

use ring::hmac;
use subtle::ConstantTimeEq;

use crate::domain::Timestamp;
use crate::store::vault::Id;

use super::format;

const ID: usize = 16;
const SEED: usize = 16;
const BODY: usize = ID + SEED + 4 + 8;
const MAC: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Access,
    Refresh,
    /// RFC 6749, 4.1.2.
    Code,
    /// RFC 8628, 3.2.
    Device,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Access => "mlg_at_",
            Self::Refresh => "mlg_rt_",
            Self::Code => "mlg_ac_",
            Self::Device => "mlg_dc_",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub id: [u8; ID],
    pub seed: [u8; SEED],
    pub generation: u32,
    pub until: Timestamp,
}

impl Ticket {
    pub fn record(&self) -> Id {
        Id::new(self.id)
    }

    fn bytes(&self) -> [u8; BODY] {
        let mut bytes = [0; BODY];
        bytes[..ID].copy_from_slice(&self.id);
        bytes[ID..ID + SEED].copy_from_slice(&self.seed);
        bytes[ID + SEED..ID + SEED + 4].copy_from_slice(&self.generation.to_be_bytes());
        bytes[ID + SEED + 4..].copy_from_slice(&self.until.micros().to_be_bytes());
        bytes
    }

    fn of(bytes: &[u8; BODY]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (seed, rest) = rest.split_first_chunk()?;
        let (generation, until) = rest.split_first_chunk()?;
        Some(Self {
            id: *id,
            seed: *seed,
            generation: u32::from_be_bytes(*generation),
            until: Timestamp::from_micros(i64::from_be_bytes(until.try_into().ok()?)),
        })
    }
}

/// Writes tickets and reads them; the first key writes, all read.
pub struct Mint {
    keys: Vec<hmac::Key>,
}

impl Mint {
    /// From the session secrets.
    pub fn new(secrets: &[[u8; 32]]) -> Self {
        let derive = |secret: &[u8; 32]| {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"mlgate tickets, version 1");
            hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref())
        };
        Self {
            keys: secrets.iter().map(derive).collect(),
        }
    }

    pub fn write(&self, kind: Kind, ticket: &Ticket) -> String {
        let body = ticket.bytes();
        let mut whole = [0; BODY + MAC];
        whole[..BODY].copy_from_slice(&body);
        if let Some(key) = self.keys.first() {
            whole[BODY..].copy_from_slice(&mac(key, kind, &body));
        }
        format::write(kind.prefix(), &format::digits(&whole))
    }

    /// `None` for what is not one of ours of this kind, whatever it says.
    pub fn read(&self, kind: Kind, text: &str) -> Option<Ticket> {
        let whole: [u8; BODY + MAC] = format::bytes(format::read(kind.prefix(), text)?)?;
        let (body, shown) = whole.split_first_chunk::<BODY>()?;
        let is_ours = self.keys.iter().any(|key| mac(key, kind, body).ct_eq(shown).into());
        is_ours.then(|| Ticket::of(body)).flatten()
    }
}

/// Whether a text has the form and checksum of a ticket; says nothing of who wrote it.
pub(super) fn looks_like_one(kind: Kind, text: &str) -> bool {
    format::read(kind.prefix(), text).is_some_and(|digits| format::bytes(digits).is_some())
}

/// The kind is part of it: no kind of ticket passes for another.
fn mac(key: &hmac::Key, kind: Kind, body: &[u8; BODY]) -> [u8; MAC] {
    let mut context = hmac::Context::with_key(key);
    context.update(kind.prefix().as_bytes());
    context.update(body);
    let mut short = [0; MAC];
    short.copy_from_slice(&context.sign().as_ref()[..MAC]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            id: [1; 16],
            seed: [255; 16],
            generation: 7,
            until: Timestamp::from_seconds(1_795_435_200),
        }
    }

    #[test]
    fn a_ticket_is_read_as_it_was_written_and_as_no_other_kind() {
        let mint = Mint::new(&[[1; 32]]);
        let text = mint.write(Kind::Refresh, &ticket());
        assert!(text.starts_with("mlg_rt_") && text.len() == 7 + 88 + 6, "{text}");
        assert!(mint.read(Kind::Refresh, &text) == Some(ticket()));
        assert!(mint.read(Kind::Access, &text).is_none());
        assert!(mint.read(Kind::Access, &text.replace("_rt_", "_at_")).is_none());
        assert_eq!(mint.write(Kind::Refresh, &ticket()), text, "the same again");
    }

    #[test]
    fn one_wrong_character_shows_and_so_does_another_key() {
        let mint = Mint::new(&[[1; 32]]);
        let text = mint.write(Kind::Access, &ticket());
        for position in 0..text.len() {
            let mut edited = text.clone().into_bytes();
            edited[position] = if edited[position] == b'a' { b'b' } else { b'a' };
            assert!(mint.read(Kind::Access, std::str::from_utf8(&edited).unwrap()).is_none());
        }
        // With the right checksum, too.
        let other = Mint::new(&[[2; 32]]);
        assert!(mint.read(Kind::Access, &other.write(Kind::Access, &ticket())).is_none());
        assert!(Mint::new(&[[2; 32], [1; 32]]).read(Kind::Access, &text).is_some());
        assert!(Mint::new(&[]).read(Kind::Access, &text).is_none());
    }
}
