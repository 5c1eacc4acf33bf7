//! oauth2-proxy's options as flags and as environment variables: the same names in another spelling.

use std::collections::BTreeMap;

use toml_edit::{Array, Value};

/// Flags that may stand several times; in a file and in the environment they have a plural.
const REPEATED: [(&str, &str); 22] = [
    ("allowed_group", "allowed_groups"),
    ("allowed_role", "allowed_roles"),
    ("api_route", "api_routes"),
    ("cookie_domain", "cookie_domains"),
    ("email_domain", "email_domains"),
    ("extra_jwt_issuer", "extra_jwt_issuers"),
    ("github_user", "github_users"),
    ("gitlab_group", "gitlab_groups"),
    ("gitlab_project", "gitlab_projects"),
    ("google_group", "google_groups"),
    ("htpasswd_user_group", "htpasswd_user_groups"),
    ("keycloak_group", "keycloak_groups"),
    ("oidc_audience_claim", "oidc_audience_claims"),
    ("oidc_extra_audience", "oidc_extra_audiences"),
    ("provider_ca_file", "provider_ca_files"),
    ("redis_cluster_connection_url", "redis_cluster_connection_urls"),
    ("redis_sentinel_connection_url", "redis_sentinel_connection_urls"),
    ("skip_auth_route", "skip_auth_routes"),
    ("trusted_ip", "trusted_ips"),
    ("trusted_proxy_ip", "trusted_proxy_ips"),
    ("upstream", "upstreams"),
    ("whitelist_domain", "whitelist_domains"),
];
const VARIABLE: &str = "OAUTH2_PROXY_";

/// Options by the names that they have in a file; `None` where the text is neither flags nor variables.
///
/// # Errors
/// Where a word among flags is none. Shows no value.
pub(super) fn read(text: &str) -> Option<Result<BTreeMap<String, Value>, String>> {
    let lines = || {
        let lines = text.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
    };
    if lines().any(|line| variable(line).is_some()) {
        return Some(Ok(gathered(lines().filter_map(variable))));
    }
    if lines().any(|line| {
        line.trim_start_matches("- ")
            .trim_start_matches(['"', '\''])
            .starts_with("--")
    }) {
        return Some(flags(text).map(|flags| gathered(flags.into_iter())));
    }
    None
}

/// Of a file of variables, or of what `env` prints. Others than oauth2-proxy's are nobody's business.
fn variable(line: &str) -> Option<(String, String)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end().strip_prefix(VARIABLE)?;
    Some((name.to_ascii_lowercase(), unquoted(value.trim()).to_owned()))
}

/// A command line, or the `args` of a pod: each word on a line of its own behind a dash.
fn flags(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut words = words(text)?.into_iter().peekable();
    // What comes before the first flag is the program.
    while words.next_if(|word| !word.starts_with("--")).is_some() {}
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--") else {
            return Err(format!(
                "what follows the flag number {} is no flag: a value is written --flag=value",
                found.len()
            ));
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => match words.next_if(|next| !next.starts_with("--")) {
                Some(value) => (flag, value),
                None => (flag, "true".to_owned()),
            },
        };
        found.push((name.replace('-', "_"), value));
    }
    Ok(found)
}

/// As a shell parts them: quotes hold together, a backslash at a line's end is nothing.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        let line = line.strip_suffix('\\').unwrap_or(line).trim_end();
        if line.starts_with('#') {
            continue;
        }
        let mut rest = line.strip_prefix("- ").unwrap_or(line).trim_start();
        while !rest.is_empty() {
            let mut word = String::new();
            let mut quote = None;
            let mut end = rest.len();
            for (at, c) in rest.char_indices() {
                match (quote, c) {
                    (None, '"' | '\'') => quote = Some(c),
                    (Some(open), c) if open == c => quote = None,
                    (None, c) if c.is_whitespace() => {
                        end = at;
                        break;
                    }
                    _ => word.push(c),
                }
            }
            if quote.is_some() {
                return Err(format!("a quote is not closed behind the word number {}", words.len()));
            }
            words.push(word);
            rest = rest.get(end..).unwrap_or_default().trim_start();
        }
    }
    Ok(words)
}

fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(text)
}

fn gathered(pairs: impl Iterator<Item = (String, String)>) -> BTreeMap<String, Value> {
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    for (name, value) in pairs {
        let plural = REPEATED.iter().find(|(one, _)| *one == name).map(|(_, many)| *many);
        let name = plural.map_or(name, str::to_owned);
        let value = match values.remove(&name) {
            None => Value::from(value),
            Some(Value::Array(mut array)) => {
                array.push(value);
                Value::Array(array)
            }
            Some(before) => Value::Array(Array::from_iter([before, Value::from(value)])),
        };
        values.insert(name, value);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> BTreeMap<String, String> {
        let read = read(text).unwrap().unwrap();
        read.into_iter()
            .map(|(name, value)| (name, value.to_string().trim().to_owned()))
            .collect()
    }

    #[test]
    fn flags_are_read_as_a_shell_and_as_a_pod_has_them() {
        let shell = "/bin/oauth2-proxy --provider=oidc \\\n  --email-domain a.example --email-domain=b.example \\\n  --skip-provider-button --footer='Ask \"us\"'\n";
        let pod = "# args\n- --provider=oidc\n- --email-domain\n- a.example\n- \"--email-domain=b.example\"\n- --skip-provider-button\n- '--footer=Ask \"us\"'\n";
        let expected: BTreeMap<String, String> = [
            ("provider", "\"oidc\""),
            ("email_domains", "[\"a.example\", \"b.example\"]"),
            ("skip_provider_button", "\"true\""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let mut read = told(shell);
        assert_eq!(read.remove("footer").as_deref(), Some("'Ask \"us\"'"));
        assert_eq!(read, expected);
        assert!(
            told(pod)
                .keys()
                .eq(["email_domains", "footer", "provider", "skip_provider_button"])
        );
    }

    #[test]
    fn variables_are_read_from_a_file_of_them() {
        let read =
            told("PATH=/bin\nexport OAUTH2_PROXY_CLIENT_ID=\"a=b\"\nOAUTH2_PROXY_EMAIL_DOMAINS=a.example,b.example\n");
        assert_eq!(read["client_id"], "\"a=b\"");
        assert_eq!(read["email_domains"], "\"a.example,b.example\"");
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn what_is_neither_is_left_to_others_and_what_is_broken_is_not_shown() {
        assert!(read("client_id = \"--a\"\n").is_none());
        assert!(read("").is_none());
        for broken in ["--client-secret=a hunter2", "--client-secret='hunter2"] {
            let text = read(broken).unwrap().unwrap_err();
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
