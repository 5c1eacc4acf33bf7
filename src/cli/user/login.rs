//! `mlgate login`: by a browser at hand, or by a code that is typed into one elsewhere.

use std::io::Write;

use clap::Args;
use url::Url;

use crate::client::{Client, DeviceSignIn, Failure, GatewayUrl, LoopbackSignIn, browser};

use super::super::Exit;
use super::progress::Progress;
use super::qr;

#[derive(Args, Debug)]
pub(in crate::cli) struct Login {
    /// The gateway's address, as in the browser
    url: String,
    /// By a code: sign in with a browser on any other machine or phone. The default where there is no browser at hand
    #[arg(long)]
    device: bool,
    /// Print the address to open in a browser on this machine, instead of opening it
    #[arg(long)]
    no_browser: bool,
}

impl Login {
    pub(super) async fn act(self, client: &Client, out: &mut impl Write) -> Result<Exit, Failure> {
        let url = client.gateway(Some(&self.url))?;
        let browser = browser::at_hand(client.environment());
        if self.device || (browser.is_none() && !self.no_browser) {
            by_code(client, &url, self.device, out).await?;
        } else {
            let begun = client.begin_by_browser(&url).await?;
            let opened = !self.no_browser && browser.is_some_and(|browser| browser.open(&begun.address));
            by_browser(client, &url, begun, opened, out).await?;
        }
        // Whoever cannot be asked about is signed in nevertheless.
        match client.account(&url).await {
            Ok(account) => writeln!(
                out,
                "Signed in to {url} as {} ({}). For MLflow: mlgate run -- COMMAND, or eval \"$(mlgate env)\"",
                account.user(),
                account.provider()
            )?,
            Err(Failure::Refused(text)) => writeln!(out, "Signed in to {url}, but: {text}")?,
            Err(_) => writeln!(out, "Signed in to {url}.")?,
        }
        Ok(Exit::Done)
    }
}

async fn by_browser(
    client: &Client,
    url: &GatewayUrl,
    begun: LoopbackSignIn,
    opened: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    if opened {
        writeln!(
            out,
            "Sign in with the browser that opens. If none does, open this address on this machine:"
        )?;
    } else {
        writeln!(out, "To sign in, open this address in a browser on this machine:")?;
    }
    writeln!(out, "\n  {}\n", begun.address)?;
    if !opened && client.environment().is_remote {
        writeln!(
            out,
            "Is your browser on another machine? Then: mlgate login {url} --device\n"
        )?;
    }
    out.flush()?;
    let mut progress = Progress::new("Waiting for the browser");
    let outcome = client
        .finish_by_browser(url, begun, &mut |left| progress.tick(left))
        .await;
    progress.end();
    outcome
}

/// `asked`: whether the person wanted a code.
async fn by_code(client: &Client, url: &GatewayUrl, asked: bool, out: &mut impl Write) -> Result<(), Failure> {
    let begun = match client.begin_by_code(url).await {
        // Without codes there is the browser, even if it has to be brought here.
        Err(Failure::Refused(_)) if !asked => {
            let begun = client.begin_by_browser(url).await?;
            return by_browser(client, url, begun, false, out).await;
        }
        begun => begun?,
    };
    show(&begun, out)?;
    let mut progress = Progress::new("Waiting until you approve it in the browser");
    let outcome = client.finish_by_code(url, begun, &mut |left| progress.tick(left)).await;
    progress.end();
    outcome
}

fn show(begun: &DeviceSignIn, out: &mut impl Write) -> Result<(), Failure> {
    writeln!(
        out,
        "To sign in, open this address in any browser, on this machine or another:"
    )?;
    writeln!(out, "\n  {}\n", begun.verification_uri)?;
    writeln!(out, "and type the code\n\n  {}\n", begun.user_code)?;
    let complete: Option<&Url> = begun.verification_uri_complete.as_ref();
    if let Some(picture) = complete.and_then(|address| qr::draw(address.as_str(), qr::is_coloured())) {
        writeln!(out, "or scan this, which types it for you:\n\n{picture}")?;
    }
    out.flush()?;
    Ok(())
}
