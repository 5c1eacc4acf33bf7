//! `mlgate sessions list|revoke`.

use std::io::{self, Write};

use clap::Subcommand;
use http::Method;

use super::Exit;
use super::admin_socket::{Failure, Which, ask, finish, print_list, segment};

const COLUMNS: [&str; 7] = ["id", "user", "provider", "created", "last_seen", "expires", "address"];

#[derive(Debug, Subcommand)]
pub(super) enum Sessions {
    /// Who is signed in
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
    /// End one session, or all of a user
    Revoke {
        #[command(flatten)]
        which: Which,
        /// As `sessions list` shows it
        #[arg(required_unless_present = "user", conflicts_with_all = ["user", "provider"])]
        id: Option<String>,
        #[arg(long, requires = "provider")]
        user: Option<String>,
        #[arg(long, requires = "user")]
        provider: Option<String>,
        /// An array of what was ended instead of a sentence
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(asked: Sessions, out: &mut impl Write) -> io::Result<Exit> {
    finish(asked.run(out))
}

impl Sessions {
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
                    &ask(&which, Method::GET, "/sessions", &query, None)?,
                    &COLUMNS,
                    json,
                    out,
                )?)
            }
            Self::Revoke {
                which,
                id,
                user,
                provider,
                json,
            } => {
                let path = id.map_or("/sessions".to_owned(), |id| format!("/sessions/{}", segment(&id)));
                let query = [("user", user.as_deref()), ("provider", provider.as_deref())];
                let ended = ask(&which, Method::DELETE, &path, &query, None)?;
                if json {
                    writeln!(out, "{ended}")?;
                } else {
                    writeln!(out, "ended: {}", ended.as_array().map_or(0, Vec::len))?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: Sessions,
    }

    #[test]
    fn revoke_takes_an_id_or_a_user_with_provider_and_nothing_between() {
        let fits = |line: &str| Line::try_parse_from(line.split(' ')).is_ok();
        assert!(fits("mlgate revoke --config c 00ff"));
        assert!(fits("mlgate revoke --config c --user u --provider p"));
        assert!(!fits("mlgate revoke --config c"));
        assert!(!fits("mlgate revoke --config c --user u"));
        assert!(!fits("mlgate revoke --config c --provider p"));
        assert!(!fits("mlgate revoke --config c 00ff --user u --provider p"));
        assert!(fits("mlgate revoke --url https://m.example 00ff"));
        assert!(!fits("mlgate revoke --url https://m.example --config c 00ff"));
        assert!(!fits("mlgate revoke 00ff"));
    }

    #[test]
    fn a_list_is_a_table_or_an_array() {
        let list = json!([{"id": "00ff", "user": "a\u{1b}b", "provider": "local", "last_seen": null}]);
        let (mut table, mut array) = (Vec::new(), Vec::new());
        print_list(&list, &COLUMNS[..3], false, &mut table).unwrap();
        print_list(&list, &COLUMNS[..3], true, &mut array).unwrap();
        assert_eq!(
            String::from_utf8(table).unwrap(),
            "ID    USER      PROVIDER\n00ff  a\\u{1b}b  local\n"
        );
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&array).unwrap(), list);
    }
}
