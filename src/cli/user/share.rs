//! `mlgate share`.

use std::io::Write;

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::client::{Client, Failure};
use crate::domain::visible;

use super::super::Exit;

#[derive(Args, Debug)]
pub(in crate::cli) struct Share {
    /// The experiment, by its id or its name
    experiment: String,
    /// A group of your own provider, or `provider:group`; without one, say with whom it is shared
    #[arg(long, requires = "permission")]
    group: Option<String>,
    /// What the group is to have; `none` takes its share back
    #[arg(long, value_enum, ignore_case = true, requires = "group")]
    permission: Option<Permission>,
    /// The gateway; without it, the one that was signed in to last
    #[arg(long)]
    url: Option<String>,
    /// `{experiment_id, name, owner, shares: [{group, permission}]}` instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Permission {
    Read,
    Use,
    Edit,
    Manage,
    None,
}

impl Permission {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Use => "USE",
            Self::Edit => "EDIT",
            Self::Manage => "MANAGE",
            Self::None => "NONE",
        }
    }
}

impl Share {
    pub(super) async fn act(self, client: &Client, out: &mut impl Write) -> Result<Exit, Failure> {
        let url = client.gateway(self.url.as_deref())?;
        let change = self.group.as_deref().zip(self.permission.map(Permission::as_str));
        let told = client.share(&url, &self.experiment, change).await?;
        if self.json {
            writeln!(out, "{told}")?;
        } else {
            write!(out, "{}", table(&told))?;
        }
        Ok(Exit::Done)
    }
}

fn table(told: &Value) -> String {
    let text = |value: &Value| visible(value.as_str().unwrap_or("-"));
    let mut lines = format!(
        "experiment  {} ({})\nmade by     {}\n",
        text(&told["name"]),
        text(&told["experiment_id"]),
        text(&told["owner"])
    );
    for share in told["shares"].as_array().into_iter().flatten() {
        lines += &format!("{:<11} {}\n", text(&share["permission"]), text(&share["group"]));
    }
    lines
}
