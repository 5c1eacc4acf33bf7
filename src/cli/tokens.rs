//! `mlgate tokens list|revoke|create`.

use std::io::{self, Write};
use std::time::Duration;

use clap::Subcommand;
use http::Method;
use serde_json::json;

use super::Exit;
use super::admin_socket::{Failure, Which, ask, finish, print_list, segment};

const COLUMNS: [&str; 8] = [
    "id",
    "name",
    "user",
    "provider",
    "created",
    "last_used",
    "expires",
    "read_only",
];

#[derive(Debug, Subcommand)]
pub(super) enum Tokens {
    /// Personal tokens that are in force
    List {
        #[command(flatten)]
        which: Which,
        #[arg(long)]
        user: Option<String>,
        #[arg(long)]
        provider: Option<String>,
        /// An array instead of a table
        #[arg(long)]
        json: bool,
    },
    /// End a token
    Revoke {
        #[command(flatten)]
        which: Which,
        /// As `tokens list` shows it
        id: String,
        /// An array of what was ended instead of a sentence
        #[arg(long)]
        json: bool,
    },
    /// Make a token for a user; it is printed once, alone
    Create {
        #[command(flatten)]
        which: Which,
        #[arg(long)]
        user: String,
        #[arg(long)]
        provider: String,
        #[arg(long)]
        name: String,
        /// `90s`, `30m`, `8h`, `365d`
        #[arg(long, value_parser = lifetime)]
        lifetime: Duration,
        /// Only READ, whatever the user's roles say
        #[arg(long)]
        read_only: bool,
        /// `{token, id, expires}` instead of the token alone
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(asked: Tokens, out: &mut impl Write) -> io::Result<Exit> {
    finish(asked.run(out))
}

impl Tokens {
    fn run(self, out: &mut impl Write) -> Result<(), Failure> {
        match self {
            Self::List {
                which,
                user,
                provider,
                json,
            } => {
                let query = [("user", user.as_deref()), ("provider", provider.as_deref())];
                Ok(print_list(
                    &ask(&which, Method::GET, "/tokens", &query, None)?,
                    &COLUMNS,
                    json,
                    out,
                )?)
            }
            Self::Revoke { which, id, json } => {
                let path = format!("/tokens/{}", segment(&id));
                let ended = ask(&which, Method::DELETE, &path, &[], None)?;
                if json {
                    writeln!(out, "{ended}")?
                } else {
                    writeln!(out, "ended: 1")?
                }
                Ok(())
            }
            Self::Create {
                which,
                user,
                provider,
                name,
                lifetime,
                read_only,
                json,
            } => {
                let wanted = json!({
                    "user": user, "provider": provider, "name": name,
                    "lifetime_seconds": lifetime.as_secs(), "read_only": read_only,
                });
                let made = ask(&which, Method::POST, "/tokens", &[], Some(&wanted))?;
                if json {
                    writeln!(out, "{made}")?
                } else {
                    writeln!(out, "{}", made["token"].as_str().unwrap_or_default())?
                }
                Ok(())
            }
        }
    }
}

/// One number and one unit, as in the configuration; whole seconds.
fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "a lifetime is one number and one unit: 90s, 30m, 8h, 365d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1_u64,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(seconds)
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_one_number_and_one_unit() {
        assert_eq!(lifetime("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(lifetime("365d").unwrap(), Duration::from_secs(365 * 86_400));
        for wrong in [
            "",
            "s",
            "1",
            "0s",
            "-1h",
            "+1h",
            "1.5h",
            "1h30m",
            "1w",
            "1é",
            "99999999999999999999d",
            "9999999999999999999d",
        ] {
            assert!(lifetime(wrong).is_err(), "{wrong}");
        }
    }
}
