//! One connection to a directory: TCP, TLS from the start or by StartTLS, and every message looked at before `ldap3` parses it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, StdStream};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use super::ber;
use crate::config::LdapUrl;
use crate::providers::ProviderError;

/// The extended operation 1.3.6.1.4.1.1466.20037 (RFC 4511, 4.14.1), as message 1.
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
const KEEPALIVE: Duration = Duration::from_secs(60);
const EXTENDED_RESPONSE: u8 = 0x78;
const ENUMERATED: u8 = 0x0a;

/// A handle that may be cloned for several questions at once. The connection ends with the last one.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) ldap: Ldap,
    _pump: Arc<Pump>,
}

/// What carries bytes between the socket and `ldap3`.
struct Pump(AbortHandle);

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects; the caller limits the time. Goes on in plain text nowhere that TLS was asked for.
///
/// # Errors
/// `Unavailable` when nobody answers, `Refused` when TLS does not hold.
pub(super) async fn open(url: &LdapUrl, start_tls: bool, tls: &TlsConnector) -> Result<Link, ProviderError> {
    let away = |error: io::Error| ProviderError::Unavailable(format!("{url}: {error}"));
    let mut stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(away)?;
    stream.set_nodelay(true).map_err(away)?;
    // A firewall that forgets an idle connection tells nobody; the next person would wait for it in vain.
    let alive = TcpKeepalive::new().with_time(KEEPALIVE);
    SockRef::from(&stream).set_tcp_keepalive(&alive).map_err(away)?;
    if start_tls {
        ask_for_tls(&mut stream, url).await?;
    }
    if !url.tls && !start_tls {
        return bridge(stream).await.map_err(away);
    }
    let name = ServerName::try_from(url.host.clone())
        .map_err(|_| ProviderError::Refused(format!("{url}: no name that a certificate could hold")))?;
    let stream = tls.connect(name, stream).await.map_err(|error| {
        let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        match is_tls {
            true => ProviderError::Refused(format!("{url}: TLS: {error}")),
            false => away(error),
        }
    })?;
    bridge(stream).await.map_err(away)
}

async fn ask_for_tls(stream: &mut TcpStream, url: &LdapUrl) -> Result<(), ProviderError> {
    let away = |error: io::Error| ProviderError::Unavailable(format!("{url}: StartTLS: {error}"));
    stream.write_all(START_TLS).await.map_err(away)?;
    // Not one byte further: what comes after the answer is TLS, or nothing that we believe.
    let answer = ber::message(stream).await.map_err(away)?;
    match start_tls_result(&answer) {
        Some(0) => Ok(()),
        Some(code) => Err(ProviderError::Refused(format!(
            "{url} does not start TLS: it answers with result {code}"
        ))),
        None => Err(ProviderError::Refused(format!(
            "{url} answers StartTLS with something else"
        ))),
    }
}

fn start_tls_result(message: &[u8]) -> Option<u8> {
    let (_, content, _) = ber::element(message)?;
    let (2, [1], rest) = ber::element(content)? else {
        return None;
    };
    let (EXTENDED_RESPONSE, response, _) = ber::element(rest)? else {
        return None;
    };
    match ber::element(response)? {
        (ENUMERATED, [code], _) => Some(*code),
        _ => None,
    }
}

/// Gives the stream to `ldap3`, which takes only sockets of its own kinds, over a pair of them.
async fn bridge(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> io::Result<Link> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = UnixStream::from_std(ours)?;
    let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs));
    let (connection, ldap) = LdapConnAsync::with_settings(settings, "ldapi:///").await?;
    tokio::spawn(async move {
        if let Err(error) = connection.drive().await {
            tracing::debug!(%error, "a connection to the directory ended");
        }
    });
    let pump = tokio::spawn(pump(ours, stream));
    Ok(Link {
        ldap,
        _pump: Arc::new(Pump(pump.abort_handle())),
    })
}

async fn pump(ours: UnixStream, stream: impl AsyncRead + AsyncWrite) {
    let (mut questions, mut answers) = ours.into_split();
    let (from, mut to) = tokio::io::split(stream);
    let up = async {
        tokio::io::copy(&mut questions, &mut to).await?;
        to.shutdown().await
    };
    let down = async {
        let mut from = BufReader::new(from);
        loop {
            let message = ber::message(&mut from).await?;
            answers.write_all(&message).await?;
        }
    };
    // When one way ends, so does the other: half a connection answers nothing.
    let ended: io::Result<()> = tokio::select! { ended = up => ended, ended = down => ended };
    if let Err(error) = ended
        && error.kind() == io::ErrorKind::InvalidData
    {
        tracing::warn!(%error, "the connection is closed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_to_our_own_request_starts_tls() {
        let yes = [0x30, 12, 2, 1, 1, 0x78, 7, 0x0a, 1, 0, 4, 0, 4, 0];
        assert_eq!(start_tls_result(&yes), Some(0));
        let changed = |at: usize, byte: u8| {
            let mut message = yes;
            message[at] = byte;
            start_tls_result(&message)
        };
        assert_eq!(changed(9, 2), Some(2), "protocolError: StartTLS was taken out");
        assert_eq!(changed(4, 2), None, "another message");
        assert_eq!(changed(5, 0x61), None, "the answer to a bind");
        assert_eq!(changed(7, 2), None);
    }

    #[test]
    fn the_request_is_one_whole_message() {
        let (tag, content, rest) = ber::element(START_TLS).unwrap();
        assert_eq!((tag, content.len(), rest.len()), (0x30, 29, 0));
    }
}
