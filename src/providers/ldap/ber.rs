//! One look at what a directory sends before any parser does: whole, small, definite, and not deep (X.690, 8.1; RFC 4511, 5.1).
//!
//! The parser of `ldap3` recurses as deep as a message says, without a limit: 40 KB from whoever stands on the way to the
//! directory, before TLS begins, would end the process.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// More than any answer to our questions. Bytes.
const LONGEST: usize = 1 << 20;
/// An entry is five deep.
const DEEPEST: usize = 16;

const SEQUENCE: u8 = 0x30;
const CONSTRUCTED: u8 = 0x20;
const LONG_TAG: u8 = 0x1f;

/// Reads exactly one message, its header included.
///
/// # Errors
/// When the stream ends, or the message breaks a bound or does not fit together.
pub(super) async fn message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut whole = vec![0; 2];
    from.read_exact(&mut whole).await?;
    let more = match whole[1] {
        0x81..=0x84 => usize::from(whole[1] & 0x7f),
        0x80.. => return Err(broken("a length of no use")),
        _ => 0,
    };
    whole.resize(2 + more, 0);
    from.read_exact(&mut whole[2..]).await?;
    let (start, length) = header(&whole, 0).ok_or_else(|| broken("a header of no use"))?;
    if whole[0] != SEQUENCE || length > LONGEST {
        return Err(broken("no LDAP message, or one too long"));
    }
    // Grows with what arrives, not with what was announced.
    let read = from.take(length as u64).read_to_end(&mut whole).await?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match is_sound(&whole[start..]) {
        true => Ok(whole),
        false => Err(broken("a message that does not fit together, or too deep")),
    }
}

/// The first element: its tag, its content, and what follows. `None` where there is no whole one.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (start, length) = header(bytes, 0)?;
    let content = bytes.get(start..start.checked_add(length)?)?;
    Some((bytes[0], content, &bytes[start + length..]))
}

/// Where the content of the element at `at` starts, and how long it is.
fn header(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let (tag, first) = (*bytes.get(at)?, *bytes.get(at + 1)?);
    if tag & LONG_TAG == LONG_TAG {
        return None;
    }
    let digits = match first {
        0x81..=0x84 => bytes.get(at + 2..at + 2 + usize::from(first & 0x7f))?,
        0x80.. => return None,
        _ => return Some((at + 2, usize::from(first))),
    };
    let length = digits.iter().fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit));
    Some((at + 2 + digits.len(), length))
}

/// Whether every element ends within the one around it, and none is too deep.
fn is_sound(bytes: &[u8]) -> bool {
    let (mut at, mut ends) = (0, vec![bytes.len()]);
    while let Some(end) = ends.last().copied() {
        if at == end {
            ends.pop();
            continue;
        }
        let Some((start, length)) = header(bytes, at) else {
            return false;
        };
        if start > end || length > end - start {
            return false;
        }
        if bytes[at] & CONSTRUCTED == 0 {
            at = start + length;
        } else if ends.len() < DEEPEST {
            ends.push(start + length);
            at = start;
        } else {
            return false;
        }
    }
    true
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the directory sent {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, any, prop};
    use proptest::{prop_assert, prop_oneof, proptest};

    use super::*;

    async fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        message(&mut &*bytes).await
    }

    /// `depth` sequences in each other.
    fn nested(depth: usize) -> Vec<u8> {
        (0..depth).fold(Vec::new(), |inside, _| {
            let mut outside = vec![SEQUENCE, 0x84];
            outside.extend(u32::try_from(inside.len()).unwrap().to_be_bytes());
            outside.extend(inside);
            outside
        })
    }

    #[tokio::test]
    async fn a_message_is_taken_whole_and_nothing_after_it() {
        let bytes = [0x30, 3, 2, 1, 7, 0xff, 0xff];
        let mut rest = &bytes[..];
        assert_eq!(message(&mut rest).await.unwrap(), bytes[..5]);
        assert_eq!(rest, [0xff, 0xff]);
        assert_eq!(
            read(&[0x30, 0x84, 0, 0, 0, 3, 2, 1, 7]).await.unwrap().len(),
            9,
            "as Active Directory writes"
        );
    }

    #[tokio::test]
    async fn what_is_deep_is_refused_before_a_parser_sees_it() {
        assert!(read(&nested(DEEPEST)).await.is_ok());
        assert!(read(&nested(DEEPEST + 1)).await.is_err());
        assert!(read(&nested(20_000)).await.is_err());
    }

    #[tokio::test]
    async fn what_does_not_fit_together_is_refused() {
        for bytes in [
            &[0x30, 3, 2, 2, 7][..],
            &[0x30, 0x80, 0, 0],
            &[0x31, 0],
            &[0x30, 2, 2],
            &[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 2, 1, 7],
            &[0x30, 2, 0x1f, 0],
            &[0x30, 5, 0x30, 1, 2, 1, 7],
            &[],
        ] {
            assert!(read(bytes).await.is_err(), "{bytes:x?}");
        }
    }

    proptest! {
        /// Two readings of one message would be a way past the look.
        #[test]
        fn what_passes_the_look_is_read_whole_by_the_parser(
            body in prop::collection::vec(prop_oneof![Just(0x30_u8), Just(2), Just(1), Just(0), Just(0x81), any::<u8>()], 0..60)
        ) {
            let mut bytes = vec![SEQUENCE, u8::try_from(body.len()).unwrap()];
            bytes.extend(body);
            if is_sound(&bytes[2..]) {
                let (rest, _) = ldap3::asn1::parse_tag(&bytes).unwrap();
                prop_assert!(rest.is_empty());
            }
        }
    }

    #[test]
    fn an_element_is_split_off() {
        assert_eq!(element(&[2, 1, 7, 9]), Some((2, &[7][..], &[9][..])));
        assert_eq!(element(&[2, 2, 7]), None);
        assert_eq!(element(&[]), None);
    }
}
