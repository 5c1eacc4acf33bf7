//! `mlgate whoami`.

use std::io::Write;

use clap::Args;
use serde_json::Value;

use crate::client::{Account, Client, Failure, GatewayUrl};

use super::super::Exit;

#[derive(Args, Debug)]
pub(in crate::cli) struct Whoami {
    /// The gateway; without it, the one that was signed in to last
    url: Option<String>,
    /// `{url, user, provider, groups, roles, expires}` instead of a table
    #[arg(long)]
    json: bool,
}

impl Whoami {
    pub(super) async fn act(self, client: &Client, out: &mut impl Write) -> Result<Exit, Failure> {
        let url = client.gateway(self.url.as_deref())?;
        let account = client.account(&url).await?;
        if self.json {
            let mut whole = account.whole().clone();
            if let Some(fields) = whole.as_object_mut() {
                fields.insert("url".into(), Value::from(url.to_string()));
            }
            writeln!(out, "{whole}")?;
        } else {
            write!(out, "{}", table(&url, &account))?;
        }
        Ok(Exit::Done)
    }
}

fn table(url: &GatewayUrl, account: &Account) -> String {
    let list = |names: Vec<String>| if names.is_empty() { "-".into() } else { names.join(", ") };
    let rows = [
        ("gateway", url.to_string()),
        ("user", account.user()),
        ("provider", account.provider()),
        ("groups", list(account.groups())),
        ("roles", list(account.roles())),
        ("until", account.expires()),
    ];
    let shown = rows.iter().filter(|(_, value)| !value.is_empty());
    shown.map(|(name, value)| format!("{name:9} {value}\n")).collect()
}
