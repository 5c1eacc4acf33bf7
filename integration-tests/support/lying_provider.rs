//! An identity provider that is honest until it is told to lie, in one way at a time.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub const CLIENT_ID: &str = "gateway";
pub const CLIENT_SECRET: &str = "a-client-secret-of-32-characters";

/// Who signs the ID token.
#[derive(Clone, Copy, PartialEq)]
pub enum Signature {
    Own,
    /// Another key under the name of the right one.
    Foreign,
    None,
    /// HMAC with the client's secret.
    Secret,
    /// HMAC with the public key, the oldest confusion of all.
    PublicKey,
}

/// How an endpoint misbehaves instead of answering.
#[derive(Clone, Copy)]
pub enum Fault {
    Redirect,
    Oversized,
    Silent,
    Status(u16),
}

/// What the provider says; tests change it before or between requests.
pub struct Says {
    pub discovery: Value,
    pub header: Value,
    pub claims: Value,
    pub userinfo: Value,
    pub refresh_token: Option<String>,
    pub id_token: bool,
    pub signature: Signature,
    /// By path.
    pub faults: HashMap<String, Fault>,
    /// Requests by path.
    pub asked: HashMap<String, usize>,
    /// Refresh tokens that were used, in order.
    pub refreshed: Vec<String>,
    /// Bodies that the token endpoint got, in order.
    pub token_requests: Vec<HashMap<String, String>>,
    next: usize,
}

impl Says {
    /// Lets a path fail from now on.
    pub fn fail(&mut self, path: &str, fault: Fault) {
        self.faults.insert(path.to_owned(), fault);
    }
}

pub struct LyingProvider {
    pub issuer: String,
    pub says: Arc<Mutex<Says>>,
    key: Arc<Key>,
}

struct Key {
    pair: EcdsaKeyPair,
    foreign: EcdsaKeyPair,
    kid: Mutex<String>,
}

impl LyingProvider {
    /// Listens on a port of its own until the test program ends.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let says = Arc::new(Mutex::new(Says::honest(&issuer)));
        let key = Arc::new(Key {
            pair: key_pair(),
            foreign: key_pair(),
            kid: Mutex::new("one".to_owned()),
        });
        let (answers, keys) = (says.clone(), key.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (says, key) = (answers.clone(), keys.clone());
                std::thread::spawn(move || answer(stream, &says, &key));
            }
        });
        Self { issuer, says, key }
    }

    pub fn lie(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().unwrap());
    }

    pub fn asked(&self, path: &str) -> usize {
        self.says.lock().unwrap().asked.get(path).copied().unwrap_or(0)
    }

    /// Any token, signed as told.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.says.lock().unwrap().sign(&self.key, header, claims)
    }

    /// The key set gives the same key another name.
    pub fn rename_key(&self, kid: &str) {
        *self.key.kid.lock().unwrap() = kid.to_owned();
    }
}

impl Says {
    fn honest(issuer: &str) -> Self {
        Self {
            discovery: json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "userinfo_endpoint": format!("{issuer}/userinfo"),
                "jwks_uri": format!("{issuer}/jwks"),
                "end_session_endpoint": format!("{issuer}/end"),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
            }),
            header: json!({"alg": "ES256", "kid": "one", "typ": "JWT"}),
            claims: json!({
                "iss": issuer, "aud": CLIENT_ID, "sub": "subject-1", "iat": 1000, "exp": 1300,
                "email": "ann@example.com", "email_verified": true, "name": "Ann", "groups": ["ml"],
            }),
            userinfo: json!({"sub": "subject-1"}),
            refresh_token: None,
            id_token: true,
            signature: Signature::Own,
            faults: HashMap::new(),
            asked: HashMap::new(),
            refreshed: Vec::new(),
            token_requests: Vec::new(),
            next: 0,
        }
    }

    fn token(&self, key: &Key, access_token: &str) -> String {
        let mut claims = self.claims.clone();
        if claims.get("at_hash").is_none() {
            claims["at_hash"] = encode(&Sha256::digest(access_token.as_bytes())[..16]).into();
        }
        self.sign(key, &self.header, &claims)
    }

    fn sign(&self, key: &Key, header: &Value, claims: &Value) -> String {
        let signed = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let hmac = |secret: &[u8]| {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
            ring::hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
        };
        let ecdsa = |pair: &EcdsaKeyPair| {
            pair.sign(&SystemRandom::new(), signed.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec()
        };
        let signature = match self.signature {
            Signature::Own => ecdsa(&key.pair),
            Signature::Foreign => ecdsa(&key.foreign),
            Signature::None => Vec::new(),
            Signature::Secret => hmac(CLIENT_SECRET.as_bytes()),
            Signature::PublicKey => hmac(key.pair.public_key().as_ref()),
        };
        format!("{signed}.{}", encode(&signature))
    }

    fn body(&mut self, path: &str, form: HashMap<String, String>, key: &Key) -> Option<Value> {
        Some(match path {
            "/.well-known/openid-configuration" => self.discovery.clone(),
            "/jwks" => {
                let point = key.pair.public_key().as_ref();
                let kid = key.kid.lock().unwrap().clone();
                json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid,
                    "x": encode(&point[1..33]), "y": encode(&point[33..65])}]})
            }
            "/userinfo" => self.userinfo.clone(),
            "/token" => {
                if let Some(used) = form.get("refresh_token") {
                    let again = self.refreshed.contains(used);
                    self.refreshed.push(used.clone());
                    if again {
                        return None;
                    }
                }
                self.token_requests.push(form);
                self.next += 1;
                let access_token = format!("access-{}", self.next);
                let mut answer = json!({"access_token": access_token, "token_type": "Bearer", "expires_in": 300});
                if self.id_token {
                    answer["id_token"] = self.token(key, &access_token).into();
                }
                if let Some(token) = &self.refresh_token {
                    answer["refresh_token"] = format!("{token}-{}", self.next).into();
                }
                answer
            }
            _ => json!({}),
        })
    }
}

fn answer(mut stream: TcpStream, says: &Mutex<Says>, key: &Key) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.split('?').next()?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let form = url::form_urlencoded::parse(&body).into_owned().collect();
    let mut said = says.lock().unwrap();
    *said.asked.entry(path.clone()).or_default() += 1;
    let fault = said.faults.get(&path).copied();
    let answer = match fault {
        None => said.body(&path, form, key),
        Some(_) => Some(json!({})),
    };
    drop(said);
    let head = |status: &str, more: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n{more}\r\n")
    };
    let text = match (fault, answer) {
        (Some(Fault::Redirect), _) => head("307 Moved", "Location: /elsewhere\r\nContent-Length: 0\r\n"),
        (Some(Fault::Silent), _) => {
            // Until the other side gives up.
            let _ = stream.read(&mut [0; 1]);
            return None;
        }
        (Some(Fault::Oversized), _) => head("200 OK", "") + &" ".repeat(2 << 20) + "{}",
        (Some(Fault::Status(status)), _) => head(&format!("{status} Status"), "Content-Length: 2\r\n") + "{}",
        (None, Some(body)) => head("200 OK", "") + &body.to_string(),
        (None, None) => head("400 Bad", "") + r#"{"error":"invalid_grant"}"#,
    };
    stream.write_all(text.as_bytes()).ok()
}

fn key_pair() -> EcdsaKeyPair {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap()
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
