//! From oauth2-proxy's options to keys of ours. What it left open, such as who may do what, is left shut here.

use std::fmt::Write as _;

use super::no_twin;
use super::options::Options;

const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
/// Ours, where nothing is said.
const IDLE: u64 = 8 * HOUR;

type ReadList<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// The text of an `mlgate.toml`.
///
/// # Errors
/// Where it is not TOML.
pub(super) fn translate(text: &str, read_list: ReadList<'_>) -> Result<String, String> {
    let mut options = Options::parse(text)?;
    let mut made = Made::default();
    public(&mut options, &mut made);
    listen(&mut options, &mut made);
    network(&mut options, &mut made);
    upstream(&mut options, &mut made);
    session(&mut options, &mut made);
    returns(&mut options, &mut made);
    let provider = provider(&mut options, &mut made);
    roles(&mut options, &mut made, provider, read_list);
    pages(&mut options, &mut made);
    for option in options.rest() {
        options.remark(&option, no_twin::reason(&option));
    }
    Ok(made.finish(&options))
}

/// The text as it grows.
#[derive(Default)]
struct Made(String);

impl Made {
    fn section(&mut self, header: &str) {
        self.line(&format!("\n{header}"));
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn key(&mut self, key: &str, value: &str) {
        // Nothing goes wrong in writing to a text.
        let _ = writeln!(self.0, "{key} = {}", quoted(value));
    }

    fn keys(&mut self, key: &str, values: &[String]) {
        let values: Vec<_> = values.iter().map(|value| quoted(value)).collect();
        let _ = writeln!(self.0, "{key} = [{}]", values.join(", "));
    }

    fn given(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.key(key, &value);
        }
    }

    fn finish(self, options: &Options) -> String {
        let mut text = String::from(
            "# From a configuration of oauth2-proxy. Read it through, then: mlgate check --connect --config FILE\n\
             # Relative paths are relative to this file.\n",
        );
        text.push_str(&self.0);
        if !options.remarks.is_empty() {
            text.push_str("\n# What has no twin here:\n");
            for (option, remark) in &options.remarks {
                // A key in quotes can be anything.
                let _ = writeln!(text, "# {}: {remark}", option.escape_debug());
            }
        }
        text
    }
}

/// What is between quotes in JSON is so in TOML; control characters are gone already, but one that JSON lets stand.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

fn duration(millis: u64) -> String {
    match millis {
        _ if millis.is_multiple_of(HOUR) => format!("{}h", millis / HOUR),
        _ if millis.is_multiple_of(SECOND) => format!("{}s", millis / SECOND),
        _ => format!("{millis}ms"),
    }
}

fn public(options: &mut Options, made: &mut Made) {
    let redirect = options.text("redirect_url");
    match redirect.as_deref().and_then(|text| url::Url::parse(text).ok()) {
        Some(mut url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            let path = url
                .path()
                .strip_suffix("/callback")
                .and_then(|path| path.rsplit_once('/'));
            let base = path.map_or("", |(base, _)| base).to_owned();
            url.set_path(&base);
            url.set_query(None);
            url.set_fragment(None);
            let _ = (url.set_username(""), url.set_password(None));
            made.key("public_url", url.as_str().trim_end_matches('/'));
            options.remark(
                "redirect_url",
                "the provider must know another one now: see the comment at the provider",
            );
        }
        _ => {
            made.line("# oauth2-proxy took the host of each request: write what people type.");
            made.key("public_url", "https://mlflow.example.com");
        }
    }
}

fn listen(options: &mut Options, made: &mut Made) {
    let (cert, key) = (options.text("tls_cert_file"), options.text("tls_key_file"));
    let (http, https) = (options.text("http_address"), options.text("https_address"));
    let version = options.text("tls_min_version");
    let has_tls = cert.is_some() || key.is_some();
    let address = if has_tls {
        https.unwrap_or_else(|| ":443".to_owned())
    } else {
        http.unwrap_or_else(|| "127.0.0.1:4180".to_owned())
    };
    made.section("[listen]");
    made.key("address", &socket(&address));
    made.given(
        "admin_address",
        options.text("metrics_address").map(|address| socket(&address)),
    );
    if has_tls {
        made.section("[listen.tls]");
        made.given("cert_file", cert);
        made.given("key_file", key);
        made.given(
            "min_version",
            version.map(|version| version.trim_start_matches("TLS").to_owned()),
        );
    }
    if !options.list("tls_cipher_suites").is_empty() {
        options.remark("tls_cipher_suites", "TLS 1.2 and 1.3 with what rustls deems good");
    }
}

/// `:4180` and `http://host:4180` as addresses; a name is left to the check to complain about.
fn socket(text: &str) -> String {
    let bare = text
        .trim_start_matches("http://")
        .trim_start_matches("https://")
        .trim_end_matches('/');
    match bare.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => bare.replace("localhost:", "127.0.0.1:"),
    }
}

fn network(options: &mut Options, made: &mut Made) {
    let proxies = [options.list("trusted_proxy_ips"), options.list("trusted_proxy_ip")].concat();
    let is_behind = options.flag("reverse_proxy") == Some(true);
    if !is_behind && proxies.is_empty() {
        return;
    }
    made.section("[network]");
    if proxies.is_empty() {
        made.line(
            "# reverse_proxy = true believed everybody's X-Forwarded-For. Name the networks of yours: [\"10.0.0.0/8\"]",
        );
    }
    made.keys("trusted_proxies", &proxies);
}

fn upstream(options: &mut Options, made: &mut Made) {
    let upstreams = options.list("upstreams");
    let first = upstreams
        .iter()
        .find(|url| url.starts_with("http://") || url.starts_with("https://"));
    made.section("[[upstream]]");
    made.key("name", "mlflow");
    match first {
        Some(url) => made.key("url", url.trim_end_matches('/')),
        None => {
            made.line("# There was none: write MLflow's address.");
            made.key("url", "http://127.0.0.1:5000");
        }
    }
    if upstreams.len() > usize::from(first.is_some()) {
        options.remark("upstreams", "an upstream is an MLflow, chosen by host: files, fixed answers and paths of other servers stay with your ingress");
    }
    made.given("response_timeout", options.duration("upstream_timeout").map(duration));
}

fn session(options: &mut Options, made: &mut Made) {
    made.section("[session]");
    match options.text("session_store_type").as_deref() {
        Some("redis") => {
            made.key("store", "redis");
            let (url, password) = (options.text("redis_connection_url"), options.text("redis_password"));
            let url = url.unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
            made.key("redis_url", &with_password(&url, password.as_deref()));
            made.given("redis_ca_file", options.text("redis_ca_path"));
            made.line("# Make one with: head -c 32 /dev/urandom > session-key; chmod 600 session-key. All replicas need the same.");
            made.keys("secret_files", &["session-key".to_owned()]);
        }
        _ => {
            made.line("# Sessions are no longer in cookies: in memory they end with each restart. store = \"redis\" keeps them.");
            for option in ["redis_connection_url", "redis_password", "redis_ca_path"] {
                if options.text(option).is_some() {
                    options.remark(option, "was not used, for sessions were in cookies");
                }
            }
        }
    }
    let domains = options.list("cookie_domains");
    if let Some(domain) = domains.first() {
        made.key("cookie_domain", domain.trim_start_matches('.'));
    }
    if domains.len() > 1 {
        options.remark("cookie_domains", "there is one cookie_domain: the first was taken");
    }
    if let Some(expire) = options.duration("cookie_expire") {
        made.key("absolute_timeout", &duration(expire));
        if expire < IDLE {
            made.key("idle_timeout", &duration(expire));
        }
    }
    made.given("recheck", options.duration("cookie_refresh").map(duration));
}

fn with_password(url: &str, password: Option<&str>) -> String {
    let Some(password) = password else {
        return url.to_owned();
    };
    let Ok(mut parsed) = url::Url::parse(url) else {
        return url.to_owned();
    };
    if parsed.password().is_none() && parsed.set_password(Some(password)).is_ok() {
        parsed.to_string()
    } else {
        url.to_owned()
    }
}

fn returns(options: &mut Options, made: &mut Made) {
    let domains = options.list("whitelist_domains");
    if domains.is_empty() {
        return;
    }
    let (hosts, whole): (Vec<_>, Vec<_>) = domains.into_iter().partition(|domain| !domain.starts_with(['.', '*']));
    let hosts: Vec<String> = hosts
        .iter()
        .map(|host| host.split(':').next().unwrap_or(host).to_owned())
        .collect();
    made.section("[check]");
    made.keys("redirect_hosts", &hosts);
    if !whole.is_empty() {
        options.remark(
            "whitelist_domains",
            "whole domains cannot be named: list their hosts in check.redirect_hosts",
        );
    }
}

/// The id of the provider, for roles.
fn provider(options: &mut Options, made: &mut Made) -> &'static str {
    let kind = options.text("provider").unwrap_or_else(|| "google".to_owned());
    let issuer = options.text("oidc_issuer_url");
    let tenant = options.text("azure_tenant").unwrap_or_else(|| "common".to_owned());
    let (id, known) = match kind.as_str() {
        "google" => ("google", Some("https://accounts.google.com".to_owned())),
        "keycloak-oidc" | "keycloak" => ("keycloak", None),
        "azure" | "entra-id" => (
            "entra-id",
            Some(format!("https://login.microsoftonline.com/{tenant}/v2.0")),
        ),
        "gitlab" => ("gitlab", Some("https://gitlab.com".to_owned())),
        "adfs" => ("adfs", None),
        "login.gov" => ("login-gov", None),
        _ => ("oidc", None),
    };
    made.section("[[provider]]");
    let _ = writeln!(
        made.0,
        "# Its callback is PUBLIC_URL/auth/callback/{id} now: register that at the provider."
    );
    made.key("id", id);
    made.key("kind", "oidc");
    made.given("label", options.text("provider_display_name"));
    match issuer.or(known) {
        Some(issuer) => made.key("issuer", &issuer),
        None => {
            made.line("# The OpenID issuer was not told.");
            made.key("issuer", "https://idp.example.com");
            if matches!(
                kind.as_str(),
                "github" | "bitbucket" | "facebook" | "linkedin" | "digitalocean" | "nextcloud" | "srht"
            ) {
                options.remark(
                    "provider",
                    format!("{kind} speaks OAuth but not OpenID Connect, which is what sign-in needs here"),
                );
            }
        }
    }
    let roots = options.list("provider_ca_files");
    made.given("ca_file", roots.first().cloned());
    if roots.len() > 1 {
        options.remark("provider_ca_files", "there is one ca_file: put them into one file");
    }
    made.key(
        "client_id",
        &options.text("client_id").unwrap_or_else(|| "…".to_owned()),
    );
    match (options.text("client_secret"), options.text("client_secret_file")) {
        (Some(secret), _) => {
            made.line("# Better in a file of its own, mode 0600: client_secret_file");
            made.key("client_secret", &secret);
        }
        (None, file) => made.given("client_secret_file", file),
    }
    if let Some(scope) = options.text("scope") {
        let mut scopes: Vec<String> = scope.split_whitespace().map(str::to_owned).collect();
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".to_owned());
        }
        made.keys("scopes", &scopes);
    }
    let user = options.text("oidc_email_claim").or(options.text("user_id_claim"));
    made.given("user_claim", user);
    if let Some(groups) = options.text("oidc_groups_claim") {
        made.keys("groups_claim", &[pointer(&groups)]);
    }
    let domains = options.list("email_domains");
    if !domains.iter().any(|domain| domain == "*") && !domains.is_empty() {
        // A wildcard stays, for the check to refuse: without it everybody could sign in.
        made.keys("hosted_domains", &domains);
    }
    if let Some(key) = options.text("google_service_account_json") {
        made.key("google_groups", "directory");
        made.key("google_credentials_file", &key);
        made.given("google_admin", options.text("google_admin_email"));
    }
    if !options.list("entra_id_allowed_tenants").is_empty() {
        options.remark(
            "entra_id_allowed_tenants",
            "each tenant is a [[provider]] of its own, with its own issuer",
        );
    }
    id
}

/// A claim's name, or its way through dots, as a JSON pointer (RFC 6901).
fn pointer(claim: &str) -> String {
    // A name with a scheme is one name, dots and all.
    let parts: Vec<&str> = if claim.contains("://") {
        vec![claim]
    } else {
        claim.split('.').collect()
    };
    parts
        .iter()
        .map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1")))
        .collect()
}

fn roles(options: &mut Options, made: &mut Made, provider: &str, read_list: ReadList<'_>) {
    let sources = [
        "allowed_groups",
        "google_groups",
        "google_group",
        "keycloak_groups",
        "gitlab_groups",
        "allowed_roles",
    ];
    let groups: Vec<String> = sources
        .iter()
        .flat_map(|option| options.list(option))
        .map(|group| format!("{provider}:{group}"))
        .collect();
    let mut users = Vec::new();
    if let Some(file) = options.text("authenticated_emails_file") {
        match read_list(&file) {
            Ok(text) => users.extend(
                text.lines()
                    .map(str::trim)
                    .filter(|line| line.contains('@') && !line.starts_with('#') && !line.chars().any(char::is_control))
                    .map(|line| format!("{provider}:{line}")),
            ),
            Err(error) => options.remark(
                "authenticated_emails_file",
                format!("cannot be read ({error}): name its people in a role's users"),
            ),
        }
    }
    made.section(
        "# oauth2-proxy let everyone whom it let in do everything. Here nobody may do anything unless a role says so.",
    );
    if groups.is_empty() && users.is_empty() {
        made.line("# [[role]]");
        made.line("# name = \"editor\"");
        let _ = writeln!(made.0, "# users = [{}]", quoted(&format!("{provider}:ann@example.com")));
    } else {
        made.line("[[role]]");
        made.key("name", "editor");
        made.keys("groups", &groups);
        made.keys("users", &users);
    }
    let _ = writeln!(
        made.0,
        "# [[role]]\n# name = \"admin\"\n# users = [{}]",
        quoted(&format!("{provider}:you@example.com"))
    );
}

fn pages(options: &mut Options, made: &mut Made) {
    let notices: Vec<String> = ["banner", "footer"]
        .iter()
        .filter_map(|option| options.text(option))
        .filter(|text| text != "-")
        .collect();
    let logo = options.text("custom_sign_in_logo").filter(|logo| logo != "-");
    let is_page = notices.iter().any(|text| text.contains('<'));
    if notices.is_empty() && logo.is_none() {
        return;
    }
    made.section("[pages]");
    if is_page {
        made.line("# HTML is shown as the text that it is.");
    }
    if !notices.is_empty() {
        made.key("notice", &notices.join(" "));
    }
    match logo {
        Some(logo) if logo.contains("://") => {
            options.remark("custom_sign_in_logo", "a logo is a file: pages.logo_file")
        }
        logo => made.given("logo_file", logo),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Result<String, String> {
        Err("there is none".to_owned())
    }

    #[test]
    fn each_option_is_a_key_or_a_remark() {
        let text = translate(
            "client_id = \"c\"\nset_xauthrequest = true\nnonsense = 1\n\"a\\u001bb\" = 2\n",
            &none,
        )
        .unwrap();
        assert!(text.contains("client_id = \"c\"\n"));
        assert!(text.contains("# set_xauthrequest: X-Forwarded-User"), "{text}");
        assert!(text.contains("# nonsense: is no option"), "{text}");
        assert!(text.contains("# a\\u{1b}b: is no option"), "{text}");
    }

    #[test]
    fn secrets_stand_in_no_remark() {
        let text = translate(
            "cookie_secret = \"hunter2\"\nredis_sentinel_password = \"hunter2\"\nbasic_auth_password = \"hunter2\"\n",
            &none,
        )
        .unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("# cookie_secret: sessions are sealed"), "{text}");
    }

    #[test]
    fn a_wildcard_of_domains_does_not_open_the_door() {
        let text = translate("email_domains = [\".example.com\"]\n", &none).unwrap();
        assert!(text.contains("hosted_domains = [\".example.com\"]"), "{text}");
        assert!(
            !translate("email_domains = [\"*\"]\n", &none)
                .unwrap()
                .contains("hosted_domains")
        );
    }

    #[test]
    fn the_public_address_is_the_redirects_without_its_end() {
        let public = |url: &str| {
            let text = translate(&format!("redirect_url = {url:?}\n"), &none).unwrap();
            text.lines()
                .find(|line| line.starts_with("public_url"))
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            public("https://a.example.com/oauth2/callback"),
            "public_url = \"https://a.example.com\""
        );
        assert_eq!(
            public("https://a.example.com:8443/ml/oauth2/callback"),
            "public_url = \"https://a.example.com:8443/ml\""
        );
        assert_eq!(
            public("/oauth2/callback"),
            "public_url = \"https://mlflow.example.com\""
        );
    }

    #[test]
    fn claims_become_pointers() {
        assert_eq!(pointer("realm_access.roles"), "/realm_access/roles");
        assert_eq!(pointer("https://example.com/groups"), "/https:~1~1example.com~1groups");
    }

    #[test]
    fn people_of_a_list_get_a_role_and_its_other_lines_do_not() {
        let read = |_: &str| Ok("# team\nann@example.com\n\n bob@example.com \nnobody\n".to_owned());
        let text = translate("authenticated_emails_file = \"emails\"\n", &read).unwrap();
        assert!(
            text.contains("users = [\"google:ann@example.com\", \"google:bob@example.com\"]"),
            "{text}"
        );
        assert!(
            translate("authenticated_emails_file = \"emails\"\n", &none)
                .unwrap()
                .contains("# authenticated_emails_file: cannot be read")
        );
    }
}
