//! What cannot run here: Google's token endpoint, Cloud Identity and the Directory API, as far as their documentation tells.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mlgate::providers::Places;
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use url::Url;

pub const ACCOUNT: &str = "mlgate@project.iam.gserviceaccount.com";
pub const ADMIN: &str = "groups-admin@example.com";
pub const CUSTOMER: &str = "C046psxkn";
const CLOUD_IDENTITY: &str = "https://www.googleapis.com/auth/cloud-identity.groups.readonly";
const DIRECTORY: &str = "https://www.googleapis.com/auth/admin.directory.group.readonly";

/// How it answers; tests change it before or between requests.
pub struct GoogleSays {
    /// By the address of a person or a group: the groups that it is in itself. Whoever is not named here is not known.
    pub groups: HashMap<String, Vec<String>>,
    /// Editions that can search groups of groups.
    pub transitive: bool,
    /// At most so many entries a page.
    pub page: usize,
    /// A list that never ends.
    pub endless: bool,
    /// By method (`searchTransitiveGroups`, `searchDirectGroups`, `groups`, `token`): status, headers and body instead of an answer.
    pub faults: HashMap<&'static str, (u16, &'static str, Value)>,
    /// As whom the service account may act.
    pub delegated: HashSet<String>,
    /// Method and member, in order; the token endpoint with the subject.
    pub asked: Vec<(String, String)>,
    /// The query of the last search.
    pub query: String,
    tokens: HashMap<String, (String, Option<String>)>,
}

pub struct Google {
    pub places: Places,
    pub says: Arc<Mutex<GoogleSays>>,
}

/// The service account's key as the console gives it out, and the key that checks its signatures.
struct Account {
    json: String,
    public: Vec<u8>,
}

fn account() -> &'static Account {
    static ACCOUNT_KEY: LazyLock<Account> = LazyLock::new(|| {
        let made = Command::new("openssl")
            .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
            .output()
            .expect("openssl runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let der = PrivatePkcs8KeyDer::from_pem_slice(&made.stdout).unwrap();
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
        let json = json!({
            "type": "service_account", "project_id": "project", "private_key_id": "key-1",
            "private_key": String::from_utf8(made.stdout).unwrap(), "client_email": ACCOUNT, "client_id": "1",
            "token_uri": "https://oauth2.googleapis.com/token", "universe_domain": "googleapis.com",
        });
        Account {
            json: json.to_string(),
            public: pair.public_key().as_ref().to_vec(),
        }
    });
    &ACCOUNT_KEY
}

/// The key file of the service account, in a folder.
pub fn key_file(folder: &std::path::Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let file = folder.join("google.json");
    std::fs::write(&file, &account().json).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

impl Google {
    /// Knows nobody yet.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let says = Arc::new(Mutex::new(GoogleSays {
            groups: HashMap::new(),
            transitive: true,
            page: 200,
            endless: false,
            faults: HashMap::new(),
            delegated: HashSet::new(),
            asked: Vec::new(),
            query: String::new(),
            tokens: HashMap::new(),
        }));
        let answers = says.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let says = answers.clone();
                std::thread::spawn(move || answer(stream, &says));
            }
        });
        Self {
            places: Places {
                google_token: Some(place.join("token").unwrap()),
                cloud_identity: Some(place.clone()),
                directory: Some(place),
                graph: None,
            },
            says,
        }
    }

    pub fn set(&self, change: impl FnOnce(&mut GoogleSays)) {
        change(&mut self.says.lock().unwrap());
    }

    /// Lets the service account act as the administrator.
    pub fn delegate(&self) {
        self.says.lock().unwrap().delegated.insert(ADMIN.to_owned());
    }

    pub fn know(&self, member: &str, groups: &[&str]) {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        self.set(|says| drop(says.groups.insert(member.to_owned(), groups)));
    }

    /// How often a method was asked about a member.
    pub fn asked(&self, method: &str, member: &str) -> usize {
        let says = self.says.lock().unwrap();
        let asked = says.asked.iter();
        asked.filter(|(what, about)| what == method && about == member).count()
    }
}

type Answer = (u16, Value);

fn answer(mut stream: TcpStream, says: &Mutex<GoogleSays>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let (mut length, mut bearer) = (0, String::new());
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => bearer = value.trim().trim_start_matches("Bearer ").to_owned(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let url = Url::parse("http://google.test").ok()?.join(target).ok()?;
    let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
    let mut says = says.lock().unwrap();
    let what = match url.path() {
        "/token" => "token",
        "/v1/groups/-/memberships:searchTransitiveGroups" => "searchTransitiveGroups",
        "/v1/groups/-/memberships:searchDirectGroups" => "searchDirectGroups",
        "/admin/directory/v1/groups" => "groups",
        _ => "",
    };
    let (extra, (status, value)) = match says.faults.get(what).cloned() {
        Some((status, headers, body)) => (headers, (status, body)),
        None => (
            "",
            match (method, what) {
                ("POST", "token") => says.token(&body),
                ("GET", "groups") => says.directory(&query, &bearer),
                ("GET", search) if search.starts_with("search") => says.search(search, &query, &bearer),
                _ => (
                    404,
                    json!({"error": {"code": 404, "message": "Not Found", "status": "NOT_FOUND"}}),
                ),
            },
        ),
    };
    drop(says);
    let text = if value.is_string() {
        value.as_str()?.to_owned()
    } else {
        value.to_string()
    };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n{extra}\r\n");
    stream.write_all((head + &text).as_bytes()).ok()
}

fn denied(message: &str) -> Answer {
    (
        403,
        json!({"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED"}}),
    )
}

impl GoogleSays {
    fn token(&mut self, body: &[u8]) -> Answer {
        let form: HashMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
        let refused = |error: &str, text: &str| (400, json!({"error": error, "error_description": text}));
        if form.get("grant_type").map(String::as_str) != Some("urn:ietf:params:oauth:grant-type:jwt-bearer") {
            return refused("unsupported_grant_type", "Invalid grant_type");
        }
        let Some((header, claims)) = form.get("assertion").and_then(|assertion| verified(assertion)) else {
            return refused("invalid_grant", "Invalid JWT Signature.");
        };
        let life = claims["exp"].as_i64().unwrap_or(i64::MAX) - claims["iat"].as_i64().unwrap_or(0);
        let known = claims["iss"] == ACCOUNT
            && claims["aud"] == "https://oauth2.googleapis.com/token"
            && header["kid"] == "key-1"
            && (1..=3600).contains(&life);
        if !known {
            return refused(
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes)",
            );
        }
        let subject = claims["sub"].as_str().map(str::to_owned);
        self.asked
            .push(("token".to_owned(), subject.clone().unwrap_or_default()));
        if subject
            .as_ref()
            .is_some_and(|subject| !self.delegated.contains(subject))
        {
            let text = "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of \
                        the scopes requested.";
            return (401, json!({"error": "unauthorized_client", "error_description": text}));
        }
        let scope = claims["scope"].as_str().unwrap_or_default().to_owned();
        let token = format!("ya29.{}", self.tokens.len());
        self.tokens.insert(token.clone(), (scope, subject));
        (
            200,
            json!({"access_token": token, "token_type": "Bearer", "expires_in": 3599}),
        )
    }

    /// The person that a token acts as, where it is of this scope.
    fn subject(&self, bearer: &str, scope: &str) -> Result<Option<String>, Answer> {
        match self.tokens.get(bearer) {
            None => {
                let text = "Request had invalid authentication credentials.";
                Err((
                    401,
                    json!({"error": {"code": 401, "message": text, "status": "UNAUTHENTICATED"}}),
                ))
            }
            Some((granted, _)) if granted != scope => Err(denied("Request had insufficient authentication scopes.")),
            Some((_, subject)) => Ok(subject.clone()),
        }
    }

    fn search(&mut self, method: &str, query: &HashMap<String, String>, bearer: &str) -> Answer {
        self.query = query.get("query").cloned().unwrap_or_default();
        if let Err(answer) = self.subject(bearer, CLOUD_IDENTITY) {
            return answer;
        }
        let label = "'cloudidentity.googleapis.com/groups.discussion_forum' in labels";
        let parts: Vec<&str> = self.query.split(" && ").collect();
        let member = parts[0]
            .strip_prefix("member_key_id == '")
            .and_then(|rest| unquoted(rest.strip_suffix('\'')?));
        let sound = match parts.as_slice() {
            [_, second] => *second == label,
            [_, second, third] => *second == label && *third == format!("parent == 'customers/{CUSTOMER}'"),
            _ => false,
        };
        let Some(member) = member.filter(|_| sound) else {
            let text = "Request contains an invalid argument.";
            return (
                400,
                json!({"error": {"code": 400, "message": text, "status": "INVALID_ARGUMENT"}}),
            );
        };
        self.asked.push((method.to_owned(), member.clone()));
        if method == "searchTransitiveGroups" && !self.transitive {
            return denied("Error(2015): Permission denied for membership resource (or it may not exist).");
        }
        let Some(direct) = self.groups.get(&member).cloned() else {
            return denied("Error(2015): Permission denied for membership resource (or it may not exist).");
        };
        let mut found = direct.clone();
        if method == "searchTransitiveGroups" {
            let mut next = 0;
            while next < found.len() {
                for group in self.groups.get(&found[next]).cloned().unwrap_or_default() {
                    if !found.contains(&group) {
                        found.push(group);
                    }
                }
                next += 1;
            }
        }
        let entries = found.iter().map(|group| {
            let relation = if direct.contains(group) { "DIRECT" } else { "INDIRECT" };
            json!({"group": "groups/x", "groupKey": {"id": group}, "displayName": "A group", "relationType": relation})
        });
        self.paged("memberships", entries.collect(), query, "pageSize")
    }

    fn directory(&mut self, query: &HashMap<String, String>, bearer: &str) -> Answer {
        let subject = match self.subject(bearer, DIRECTORY) {
            Ok(subject) => subject,
            Err(answer) => return answer,
        };
        let member = query.get("userKey").cloned().unwrap_or_default();
        self.asked.push(("groups".to_owned(), member.clone()));
        if subject.as_deref() != Some(ADMIN) {
            let text = "Not Authorized to access this resource/api";
            let errors = json!([{"message": text, "domain": "global", "reason": "forbidden"}]);
            return (403, json!({"error": {"code": 403, "message": text, "errors": errors}}));
        }
        let Some(groups) = self.groups.get(&member) else {
            let text = "Resource Not Found: userKey";
            let errors = json!([{"message": text, "domain": "global", "reason": "notFound"}]);
            return (404, json!({"error": {"code": 404, "message": text, "errors": errors}}));
        };
        let entries = groups
            .iter()
            .map(|group| json!({"kind": "admin#directory#group", "email": group, "name": "A group"}));
        self.paged("groups", entries.collect(), query, "maxResults")
    }

    fn paged(&self, name: &str, all: Vec<Value>, query: &HashMap<String, String>, size: &str) -> Answer {
        let asked = query.get(size).and_then(|size| size.parse().ok()).unwrap_or(200);
        let page = self.page.min(asked);
        let from = query
            .get("pageToken")
            .and_then(|token| token.strip_prefix("from ")?.parse().ok())
            .unwrap_or(0);
        let mut answer = json!({});
        // Neither API says an empty list.
        let part: Vec<_> = all.iter().skip(from).take(page).cloned().collect();
        if !part.is_empty() {
            answer[name] = part.into();
        }
        if from + page < all.len() || self.endless {
            answer["nextPageToken"] = format!("from {}", if self.endless { 0 } else { from + page }).into();
        }
        (200, answer)
    }
}

/// What a text between single quotes means; `None` where a quote of its own would end it.
fn unquoted(text: &str) -> Option<String> {
    let mut meant = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => return None,
            '\\' => meant.push(characters.next()?),
            other => meant.push(other),
        }
    }
    Some(meant)
}

/// Header and claims of an assertion that the account's key signed.
fn verified(assertion: &str) -> Option<(Value, Value)> {
    let (signed, signature) = assertion.rsplit_once('.')?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &account().public)
        .verify(signed.as_bytes(), &decode(signature)?)
        .ok()?;
    let (header, claims) = signed.split_once('.')?;
    let header: Value = serde_json::from_slice(&decode(header)?).ok()?;
    (header["alg"] == "RS256" && header["typ"] == "JWT").then_some(())?;
    Some((header, serde_json::from_slice(&decode(claims)?).ok()?))
}
