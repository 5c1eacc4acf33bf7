//! `mlgate env`.

use std::io::Write;

use clap::Args;

use crate::client::{Client, Failure};

use super::super::{Exit, complain};
use super::shell::Shell;

#[derive(Args, Debug)]
pub(in crate::cli) struct Env {
    /// The gateway; without it, the one that was signed in to last
    url: Option<String>,
    #[arg(long, value_enum, default_value = "bash")]
    shell: Shell,
}

impl Env {
    pub(super) async fn act(self, client: &Client, out: &mut impl Write) -> Result<Exit, Failure> {
        let url = client.gateway(self.url.as_deref())?;
        let (token, end) = client.token_and_end(&url).await?;
        let address = url.to_string();
        let variables = [
            ("MLFLOW_TRACKING_URI", address.as_str()),
            ("MLFLOW_TRACKING_TOKEN", token.expose()),
        ];
        writeln!(out, "{}", self.shell.assign(&variables))?;
        complain(&format!("the token is good until {end}; a longer job: mlgate run"));
        if client.environment().has_basic {
            complain(&"MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD are set: MLflow prefers them; unset them");
        }
        if client.environment().netrc_names(&url) {
            complain(
                &"a .netrc has an entry for this host: MLflow prefers it to the token; take it out, or use mlflow-mlgate",
            );
        }
        Ok(Exit::Done)
    }
}
