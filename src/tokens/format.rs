//! How a token is written: a prefix that secret scanners know, base-62 digits, and a checksum that tells garbage apart.

use flate2::Crc;

const PERSONAL: &str = "mlg_pat_";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 > 2^256.
const BODY: usize = 43;
/// 62^6 > 2^32.
const CHECK: usize = 6;
/// 62^11 > 2^64.
const WORD: usize = 11;

/// `mlg_pat_`, 43 base-62 digits of the secret, and the checksum.
pub(super) fn personal(secret: &[u8; 32]) -> String {
    write(PERSONAL, &base62::<BODY>(secret))
}

/// Whether the text has the form of a personal token, and its checksum is right.
pub(super) fn is_personal(text: &str) -> bool {
    read(PERSONAL, text).is_some_and(|body| body.len() == BODY && body.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Prefix and body, and 6 digits of the CRC-32 of both.
pub(super) fn write(prefix: &str, body: &str) -> String {
    let head = format!("{prefix}{body}");
    let check = checksum(&head);
    head + &check
}

/// The body of a text with that prefix and the right checksum.
pub(super) fn read<'a>(prefix: &str, text: &'a str) -> Option<&'a str> {
    let body = text.strip_prefix(prefix)?;
    let (head, check) = text.split_at_checked(text.len().checked_sub(CHECK)?)?;
    (check == checksum(head)).then_some(())?;
    body.get(..body.len().checked_sub(CHECK)?)
}

/// Whole words of 64 bits, 11 digits each.
pub(super) fn digits(bytes: &[u8; 64]) -> String {
    bytes.chunks_exact(8).map(base62::<WORD>).collect()
}

/// The bytes of exactly that many digits, in exactly their one spelling.
pub(super) fn bytes(digits: &str) -> Option<[u8; 64]> {
    let mut bytes = [0; 64];
    if digits.len() != 8 * WORD {
        return None;
    }
    for (word, into) in digits.as_bytes().chunks_exact(WORD).zip(bytes.chunks_exact_mut(8)) {
        let number = word.iter().try_fold(0_u64, |number, digit| {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'A'..=b'Z' => digit - b'A' + 10,
                b'a'..=b'z' => digit - b'a' + 36,
                _ => return None,
            };
            number.checked_mul(62)?.checked_add(value.into())
        })?;
        into.copy_from_slice(&number.to_be_bytes());
    }
    Some(bytes)
}

fn checksum(head: &str) -> String {
    let mut crc = Crc::new();
    crc.update(head.as_bytes());
    base62::<CHECK>(&crc.sum().to_be_bytes())
}

/// A big-endian number in `N` digits, most significant first; `N` must be enough.
fn base62<const N: usize>(number: &[u8]) -> String {
    let mut number = number.to_vec();
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0_u32;
        for byte in &mut number {
            let part = rest << 8 | u32::from(*byte);
            *byte = (part / 62) as u8;
            rest = part % 62;
        }
        *digit = DIGITS[rest as usize];
    }
    digits.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_token_is_whole_and_of_fixed_length() {
        for secret in [[0; 32], [255; 32], [7; 32]] {
            let text = personal(&secret);
            assert_eq!(text.len(), 57);
            assert!(is_personal(&text), "{text}");
        }
        assert_ne!(personal(&[1; 32]), personal(&[2; 32]));
    }

    #[test]
    fn base62_counts_as_it_should() {
        assert_eq!(base62::<6>(&[0, 0, 0, 0]), "000000");
        assert_eq!(base62::<6>(&[0, 0, 0, 61]), "00000z");
        assert_eq!(base62::<6>(&[0, 0, 0, 62]), "000010");
        assert_eq!(base62::<6>(&[255, 255, 255, 255]), "4gfFC3");
    }

    #[test]
    fn words_come_back_as_they_were_and_in_one_spelling_alone() {
        for piece in [[0; 64], [255; 64], std::array::from_fn(|place| place as u8)] {
            assert_eq!(bytes(&digits(&piece)), Some(piece));
        }
        // One more than the largest word.
        let beyond = format!("{}{}", "LygHa16AHYG", "0".repeat(77));
        assert_eq!(bytes(&beyond), None);
        assert_eq!(bytes(&"0".repeat(87)), None);
        assert_eq!(bytes(&"-".repeat(88)), None);
    }

    #[test]
    fn one_wrong_character_shows() {
        let text = personal(&[7; 32]);
        for position in 0..text.len() {
            let mut edited = text.clone().into_bytes();
            edited[position] = if edited[position] == b'a' { b'b' } else { b'a' };
            assert!(
                !is_personal(std::str::from_utf8(&edited).unwrap()),
                "position {position}"
            );
        }
    }

    #[test]
    fn garbage_is_not_whole() {
        let text = personal(&[7; 32]);
        for garbage in [
            "",
            "mlg_pat_",
            "hunter2",
            &text[1..],
            &text[..56],
            &format!("{text}0"),
            &"é".repeat(40),
            &"é".repeat(29),
        ] {
            assert!(!is_personal(garbage), "{garbage}");
        }
    }
}
