//! Signing in by a browser on this machine: authorization code with PKCE (RFC 7636), back to a port of ours (RFC 8252, 7.3).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use crate::domain::{Clock, Random, Secret, visible};

use super::credentials::Entry;
use super::grant::{self, Endpoints};
use super::http::Http;
use super::metadata::Metadata;
use super::pkce::{Pkce, unguessable};
use super::{CLIENT_ID, Failure, GatewayUrl};

/// As long as a person may take over signing in.
const PATIENCE: Duration = Duration::from_secs(600);
const LONGEST_HEAD: usize = 16 * 1024;
/// A browser opens connections that it may never use: they may not be in the way, nor pile up.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
const VISITORS: usize = 16;
const TICK: Duration = Duration::from_millis(200);
const PATH: &str = "/callback";

/// A sign-in that waits for the browser to come back.
pub struct LoopbackSignIn {
    /// What to open.
    pub address: Url,
    listener: TcpListener,
    redirect_uri: String,
    state: Secret,
    pkce: Pkce,
    url: GatewayUrl,
    metadata: Metadata,
}

/// A request for our path, which waits for its page.
struct Visitor {
    query: String,
    stream: TcpStream,
}

impl LoopbackSignIn {
    pub(super) async fn begin(url: &GatewayUrl, metadata: Metadata, random: &dyn Random) -> Result<Self, Failure> {
        let mut address = metadata.authorization_endpoint.clone().ok_or_else(|| {
            Failure::Failed(format!(
                "the gateway at {url} signs nobody in by a browser; try: mlgate login {url} --device"
            ))
        })?;
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await?,
        };
        let redirect_uri = format!("http://{}{PATH}", listener.local_addr()?);
        let (pkce, state) = (Pkce::new(random), unguessable(random));
        address
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", CLIENT_ID)
            .append_pair("redirect_uri", &redirect_uri)
            .append_pair("state", &state)
            .append_pair("code_challenge", &pkce.challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(Self {
            address,
            listener,
            redirect_uri,
            state: Secret::new(state),
            pkce,
            url: url.clone(),
            metadata,
        })
    }

    /// Waits for the browser; `tick` is told how long it may still take.
    pub(super) async fn finish(
        self,
        http: &Http,
        clock: &dyn Clock,
        tick: &mut dyn FnMut(Duration),
    ) -> Result<Entry, Failure> {
        let (sender, mut visitors) = mpsc::channel(VISITORS);
        let deadline = Instant::now() + PATIENCE;
        loop {
            tick(deadline.saturating_duration_since(Instant::now()));
            tokio::select! {
                accepted = self.listener.accept() => {
                    // One that was gone before it was taken is no reason to stop.
                    if let (Ok((stream, _)), Ok(place)) = (accepted, sender.clone().try_reserve_owned()) {
                        tokio::spawn(receive(stream, place));
                    }
                }
                Some(visitor) = visitors.recv() => {
                    if let Some(outcome) = self.answer(visitor, http, clock).await {
                        return outcome;
                    }
                }
                () = sleep(TICK) => {}
            }
            if Instant::now() >= deadline {
                return Err(Failure::Failed(format!(
                    "nobody signed in within {} minutes; start again with: mlgate login {}",
                    PATIENCE.as_secs() / 60,
                    self.url
                )));
            }
        }
    }

    /// `None` where the visitor is not the one we wait for.
    async fn answer(&self, visitor: Visitor, http: &Http, clock: &dyn Clock) -> Option<Result<Entry, Failure>> {
        let code = match read(&visitor.query, &self.state, &self.metadata) {
            Arrival::Stranger => {
                let text = "This is not the answer to a sign-in that was begun in the terminal.";
                page(visitor.stream, "400 Bad Request", "Not signed in", text).await;
                return None;
            }
            Arrival::Refused(failure) => {
                let text = format!("{failure}. The terminal says what to do now; you can close this page.");
                page(visitor.stream, "200 OK", "Not signed in", &text).await;
                return Some(Err(failure));
            }
            Arrival::Code(code) => code,
        };
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("code_verifier", self.pkce.verifier.expose()),
        ];
        let outcome = grant::ask(http, clock, &Endpoints::from(&self.metadata), &fields).await;
        let outcome =
            outcome.map_err(|error| Failure::Failed(format!("{} did not give tokens: {}", self.url, error.text())));
        let (title, text) = match &outcome {
            Ok(_) => (
                "Signed in",
                format!("The terminal is signed in to {}. You can close this page.", self.url),
            ),
            Err(_) => (
                "Not signed in",
                "It did not work; the terminal says why. You can close this page.".to_owned(),
            ),
        };
        page(visitor.stream, "200 OK", title, &text).await;
        Some(outcome)
    }
}

enum Arrival {
    Code(Secret),
    Refused(Failure),
    /// Not the answer to our question: whoever sent it does not end our waiting.
    Stranger,
}

fn read(query: &str, state: &Secret, metadata: &Metadata) -> Arrival {
    let one = |name: &str| {
        let mut found = url::form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
        let value = found.next().map(|(_, value)| value.into_owned());
        // A parameter may not come twice (RFC 6749, 3.1).
        value.filter(|_| found.next().is_none())
    };
    if !one("state").is_some_and(|told| state.matches(&told)) {
        return Arrival::Stranger;
    }
    let issuer = one("iss");
    if issuer
        .as_deref()
        .map_or(metadata.tells_issuer, |issuer| issuer != metadata.issuer())
    {
        let text = "the answer came from another server than the one that was asked (iss)";
        return Arrival::Refused(Failure::Failed(text.into()));
    }
    if let Some(error) = one("error") {
        let said = one("error_description").filter(|said| !said.is_empty());
        let said = visible(
            &said
                .unwrap_or_else(|| error.clone())
                .chars()
                .take(300)
                .collect::<String>(),
        );
        let text = format!("the gateway refused: {said}");
        return Arrival::Refused(match error.as_str() {
            "access_denied" => Failure::Refused(text),
            _ => Failure::Failed(text),
        });
    }
    match one("code") {
        Some(code) if !code.is_empty() => Arrival::Code(Secret::new(code)),
        _ => Arrival::Refused(Failure::Failed("the gateway's answer holds no code".into())),
    }
}

/// Reads one request's head; what is no visit of our path gets its answer here.
async fn receive(mut stream: TcpStream, place: mpsc::OwnedPermit<Visitor>) {
    let mut head = Vec::new();
    let whole = timeout(HEAD_PATIENCE, async {
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            if head.len() > LONGEST_HEAD || stream.read_buf(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        Some(())
    });
    let Ok(Some(())) = whole.await else { return };
    let target = std::str::from_utf8(&head).ok().and_then(|head| {
        let line = head.lines().next()?;
        line.strip_prefix("GET ")?.split(' ').next()
    });
    match target.and_then(|target| target.strip_prefix(PATH)) {
        Some(rest) if rest.is_empty() || rest.starts_with('?') => {
            let query = rest.trim_start_matches('?').to_owned();
            place.send(Visitor { query, stream });
        }
        _ => page(stream, "404 Not Found", "Nothing here", "There is nothing here.").await,
    }
}

async fn page(mut stream: TcpStream, status: &str, title: &str, text: &str) {
    let escape = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
    };
    let (title, text) = (escape(title), escape(text));
    let body = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title} - mlgate</title></head>\
         <body><main><h1>{title}</h1><p>{text}</p></main></body></html>"
    );
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\nReferrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // A browser that left has no use for it.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use crate::client::Environment;
    use crate::client::stand_in::StandIn;
    use crate::domain::{SystemClock, SystemRandom};

    use super::*;

    async fn visit(address: &str, target: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    struct Scene {
        gateway: StandIn,
        http: Http,
        begun: LoopbackSignIn,
    }

    async fn scene() -> Scene {
        let gateway = StandIn::start().await;
        let url = gateway.url();
        let http = Http::new(&url, &Environment::default(), Arc::new(SystemClock)).unwrap();
        let metadata = Metadata::fetch(&http, &url).await.unwrap();
        let begun = LoopbackSignIn::begin(&url, metadata, &SystemRandom::new())
            .await
            .unwrap();
        Scene { gateway, http, begun }
    }

    fn parameter(address: &Url, name: &str) -> String {
        address
            .query_pairs()
            .find(|(key, _)| key == name)
            .unwrap()
            .1
            .into_owned()
    }

    #[tokio::test]
    async fn only_the_answer_to_our_question_ends_the_waiting() {
        let Scene { gateway, http, begun } = scene().await;
        let redirect = Url::parse(&parameter(&begun.address, "redirect_uri")).unwrap();
        let (state, challenge) = (
            parameter(&begun.address, "state"),
            parameter(&begun.address, "code_challenge"),
        );
        let place = redirect.authority().to_owned();
        let issuer = gateway.url().to_string();
        gateway.answer(
            "/auth/oauth2/token",
            200,
            json!({
                "access_token": "mlg_at_1", "token_type": "Bearer", "expires_in": 60, "refresh_token": "mlg_rt_1",
            }),
        );
        let visits = async {
            // A connection that says nothing is in nobody's way.
            let _idle = TcpStream::connect(&place).await.unwrap();
            assert!(visit(&place, "/favicon.ico").await.starts_with("HTTP/1.1 404"));
            for wrong in [
                "/callback".to_owned(),
                "/callback?code=evil&state=guess".to_owned(),
                format!("/callback?code=evil&state={state}&state={state}"),
            ] {
                assert!(visit(&place, &wrong).await.starts_with("HTTP/1.1 400"), "{wrong}");
            }
            let page = visit(&place, &format!("/callback?code=c0de&state={state}&iss={issuer}")).await;
            assert!(
                page.starts_with("HTTP/1.1 200") && page.contains("You can close this page"),
                "{page}"
            );
        };
        let mut tick = |_| {};
        let (outcome, ()) = tokio::join!(begun.finish(&http, &SystemClock, &mut tick), visits);
        let entry = outcome.unwrap();
        assert_eq!(entry.access_token, "mlg_at_1");
        let asked = gateway.asked("/auth/oauth2/token");
        assert_eq!(asked.len(), 1);
        let verifier = &asked[0]["code_verifier"];
        assert_eq!(asked[0]["code"], "c0de");
        assert_eq!(asked[0]["redirect_uri"], redirect.as_str());
        use base64::Engine as _;
        let digest = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
        assert_eq!(
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest),
            challenge
        );
    }

    #[tokio::test]
    async fn a_no_and_an_answer_of_another_server_end_it() {
        for (rest, refused) in [
            ("error=access_denied&iss=ISS", true),
            ("error=server_error&error_description=%1b%5b2Jbroken&iss=ISS", false),
            ("code=c0de&iss=https://evil.test", false),
            // The gateway says that it always tells who it is.
            ("code=c0de", false),
            ("iss=ISS", false),
        ] {
            let Scene { gateway, http, begun } = scene().await;
            let redirect = Url::parse(&parameter(&begun.address, "redirect_uri")).unwrap();
            let target = format!(
                "/callback?state={}&{}",
                parameter(&begun.address, "state"),
                rest.replace("ISS", &gateway.url().to_string())
            );
            let place = redirect.authority().to_owned();
            let mut tick = |_| {};
            let (outcome, page) = tokio::join!(begun.finish(&http, &SystemClock, &mut tick), visit(&place, &target));
            assert!(page.contains("Not signed in") && !page.contains('\u{1b}'), "{page}");
            match outcome.err().unwrap() {
                Failure::Refused(_) => assert!(refused, "{rest}"),
                Failure::Failed(text) => assert!(!refused && !text.contains('\u{1b}'), "{rest}: {text}"),
                other => panic!("{rest}: {other:?}"),
            }
            assert!(gateway.asked("/auth/oauth2/token").is_empty(), "{rest}");
        }
    }
}
