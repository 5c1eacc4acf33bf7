//! `mlgate logout`.

use std::io::Write;

use clap::Args;

use crate::client::{Client, Ended, Failure};

use super::super::{Exit, complain};

#[derive(Args, Debug)]
pub(in crate::cli) struct Logout {
    /// The gateway; without it, the one that was signed in to last
    url: Option<String>,
}

impl Logout {
    pub(super) async fn act(self, client: &Client, out: &mut impl Write) -> Result<Exit, Failure> {
        let url = client.gateway(self.url.as_deref())?;
        match client.log_out(&url).await? {
            Ended::Everywhere => {
                writeln!(out, "Signed out of {url}.")?;
                Ok(Exit::Done)
            }
            Ended::HereAlone(why) => {
                complain(&format!(
                    "the tokens are gone from this machine, but {url} could not be told ({why}): end the sign-in at {}",
                    url.at("/auth/account")
                ));
                Ok(Exit::Failed)
            }
        }
    }
}
