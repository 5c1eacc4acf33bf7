//! `mlgate token`.

use std::io::Write;

use clap::Args;

use crate::client::{Client, Failure};

use super::super::Exit;

#[derive(Args, Debug)]
pub(in crate::cli) struct Token {
    /// The gateway; without it, the one that was signed in to last
    url: Option<String>,
}

impl Token {
    pub(super) async fn act(self, client: &Client, out: &mut impl Write) -> Result<Exit, Failure> {
        let url = client.gateway(self.url.as_deref())?;
        writeln!(out, "{}", client.token(&url).await?.expose())?;
        Ok(Exit::Done)
    }
}
