//! `mlgate hash-password`: a password in, an argon2id line for a users file out.

use std::io::{self, BufRead, Read, Write};

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use clap::Args;

use crate::domain::Secret;

use super::{Exit, complain};

/// zxcvbn's score, 0 to 4, from which a password is good enough.
const STRONG: u8 = 3;
/// The longest password that sign-in takes, in bytes.
const LONGEST: usize = 1024;

#[derive(Args, Debug)]
pub struct HashPassword {
    /// Take a password that is easy to guess.
    #[arg(long)]
    allow_weak: bool,
}

pub fn run(asked: &HashPassword, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<Exit> {
    let mut line = String::new();
    input.take(LONGEST as u64 + 2).read_line(&mut line)?;
    let password = Secret::new(line.trim_end_matches(['\n', '\r']));
    if password.is_empty() || password.expose().len() > LONGEST || password.expose().contains('\0') {
        complain(&"the password must have 1 to 1024 bytes and no NUL");
        return Ok(Exit::Refused);
    }
    let guessed = zxcvbn::zxcvbn(password.expose(), &["mlgate", "mlflow"]);
    if u8::from(guessed.score()) < STRONG && !asked.allow_weak {
        let advice = guessed.feedback().map(|feedback| {
            feedback
                .suggestions()
                .iter()
                .map(|suggestion| format!(" {suggestion}"))
                .collect::<String>()
        });
        complain(&format!(
            "this password is easy to guess.{} (--allow-weak takes it)",
            advice.unwrap_or_default()
        ));
        return Ok(Exit::Refused);
    }
    let hash = Argon2::default()
        .hash_password(password.expose().as_bytes())
        .map_err(|error| io::Error::other(error.to_string()))?;
    writeln!(out, "{hash}")?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(password: &str, allow_weak: bool) -> (Exit, String) {
        let mut out = Vec::new();
        let exit = run(&HashPassword { allow_weak }, &mut password.as_bytes(), &mut out).unwrap();
        (exit, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_weak_password_is_refused_unless_asked_for() {
        assert_eq!(hash("password1\n", false), (Exit::Refused, String::new()));
        assert_eq!(hash("password1\n", true).0, Exit::Done);
        let (exit, line) = hash("violet anchor riding 92 tram\n", false);
        assert_eq!(exit, Exit::Done);
        assert!(line.starts_with("$argon2id$v=19$"));
    }

    #[test]
    fn no_password_makes_no_hash() {
        for input in ["", "\n", "a\0b\n", &"x".repeat(2000)] {
            assert_eq!(hash(input, true), (Exit::Refused, String::new()));
        }
    }
}
