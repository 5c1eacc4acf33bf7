//! How a token is written: a prefix that secret scanners know, 256 random bits, and a checksum that tells garbage apart.

use flate2::Crc;

const PREFIX: &str = "mlg_pat_";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 > 2^256.
const BODY: usize = 43;
/// 62^6 > 2^32.
const CHECK: usize = 6;

/// `mlg_pat_`, 43 base-62 digits of the secret, 6 of the CRC-32 of everything before them.
pub(super) fn write(secret: &[u8; 32]) -> String {
    let mut text = format!("{PREFIX}{}", base62::<BODY>(secret));
    let check = checksum(&text);
    text.push_str(&check);
    text
}

/// Whether the text has the form and its checksum is right.
pub(super) fn is_whole(text: &str) -> bool {
    let Some((head, check)) = text.split_at_checked(PREFIX.len() + BODY) else {
        return false;
    };
    head.starts_with(PREFIX)
        && head[PREFIX.len()..].bytes().all(|byte| byte.is_ascii_alphanumeric())
        && check == checksum(head)
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
            let text = write(&secret);
            assert_eq!(text.len(), 57);
            assert!(is_whole(&text), "{text}");
        }
        assert_ne!(write(&[1; 32]), write(&[2; 32]));
    }

    #[test]
    fn base62_counts_as_it_should() {
        assert_eq!(base62::<6>(&[0, 0, 0, 0]), "000000");
        assert_eq!(base62::<6>(&[0, 0, 0, 61]), "00000z");
        assert_eq!(base62::<6>(&[0, 0, 0, 62]), "000010");
        assert_eq!(base62::<6>(&[255, 255, 255, 255]), "4gfFC3");
    }

    #[test]
    fn one_wrong_character_shows() {
        let text = write(&[7; 32]);
        for position in 0..text.len() {
            let mut edited = text.clone().into_bytes();
            edited[position] = if edited[position] == b'a' { b'b' } else { b'a' };
            assert!(!is_whole(std::str::from_utf8(&edited).unwrap()), "position {position}");
        }
    }

    #[test]
    fn garbage_is_not_whole() {
        let text = write(&[7; 32]);
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
            assert!(!is_whole(garbage), "{garbage}");
        }
    }
}
