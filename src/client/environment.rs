//! What the commands read from their environment. The one place beside `config` that does.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::domain::Secret;

use super::GatewayUrl;

/// Taken once at the start and handed on: nothing else here asks for a variable.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `MLGATE_CREDENTIALS`, or `mlgate/credentials.json` below the user's configuration folder.
    pub credentials: Option<PathBuf>,
    /// Whether `credentials` lies in a folder that is ours alone.
    pub owns_folder: bool,
    /// `MLGATE_TOKEN`: what an admin's commands show instead of a sign-in.
    pub token: Option<Secret>,
    /// `MLFLOW_TRACKING_SERVER_CERT_PATH`: MLflow's own client believes it too. `SSL_CERT_FILE` is rustls's to read.
    pub ca_file: Option<PathBuf>,
    /// `MLFLOW_TRACKING_CLIENT_CERT_PATH`: certificate and key in one file.
    pub client_cert_file: Option<PathBuf>,
    /// `BROWSER`, a list of programs to try, which win over the desktop's. Arguments in it, an old habit, are not taken.
    pub browsers: Vec<PathBuf>,
    /// Whether a window could open here.
    pub has_display: bool,
    /// Whether somebody sits at another machine.
    pub is_remote: bool,
    /// As this machine calls itself.
    pub host_name: Option<String>,
    /// Where commands are looked for.
    pub path: Vec<PathBuf>,
    /// The home folder's `.netrc`, or `NETRC`.
    pub netrc: Option<PathBuf>,
    /// Whether `MLFLOW_TRACKING_USERNAME` and `_PASSWORD` are set: MLflow prefers them to a token.
    pub has_basic: bool,
}

impl Environment {
    pub fn of_this_process() -> Self {
        Self::from(&|name| env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn from(get: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| get(name).map(PathBuf::from);
        let list = |name: &str| {
            get(name)
                .map(|list| env::split_paths(&list).collect())
                .unwrap_or_default()
        };
        let home = path(if cfg!(windows) { "USERPROFILE" } else { "HOME" });
        let base = if cfg!(windows) {
            path("APPDATA")
        } else {
            // The XDG specification: a relative path is to be ignored.
            path("XDG_CONFIG_HOME")
                .filter(|folder| folder.is_absolute())
                .or_else(|| home.as_ref().map(|home| home.join(".config")))
        };
        let named = path("MLGATE_CREDENTIALS");
        Self {
            owns_folder: named.is_none(),
            credentials: named.or_else(|| base.map(|base| base.join("mlgate").join("credentials.json"))),
            token: get("MLGATE_TOKEN")
                .and_then(|token| token.into_string().ok())
                .map(Secret::new),
            ca_file: path("MLFLOW_TRACKING_SERVER_CERT_PATH"),
            client_cert_file: path("MLFLOW_TRACKING_CLIENT_CERT_PATH"),
            browsers: list("BROWSER"),
            has_display: cfg!(any(windows, target_os = "macos"))
                || get("DISPLAY").is_some()
                || get("WAYLAND_DISPLAY").is_some(),
            is_remote: get("SSH_CONNECTION").is_some() || get("SSH_TTY").is_some(),
            host_name: host_name(get),
            path: list("PATH"),
            netrc: path("NETRC").or_else(|| home.map(|home| home.join(".netrc"))),
            has_basic: get("MLFLOW_TRACKING_USERNAME").is_some() && get("MLFLOW_TRACKING_PASSWORD").is_some(),
        }
    }

    /// Whether a `.netrc` has an entry for a gateway's host, or one for all: Python's `requests` prefers it to a token.
    pub fn netrc_names(&self, url: &GatewayUrl) -> bool {
        let text = self.netrc.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        let host = url
            .url()
            .host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        text.is_some_and(|text| {
            let words: Vec<&str> = text.split_whitespace().collect();
            let named = words
                .windows(2)
                .any(|pair| pair[0] == "machine" && pair[1].eq_ignore_ascii_case(&host));
            named || words.contains(&"default")
        })
    }

    /// The file of a command, as a shell would find it.
    pub fn find(&self, command: &OsStr) -> Option<PathBuf> {
        let named = Path::new(command);
        if named.components().count() > 1 {
            return named.is_file().then(|| named.to_owned());
        }
        self.path
            .iter()
            .map(|folder| folder.join(named))
            .find(|file| file.is_file())
    }
}

fn host_name(get: &dyn Fn(&str) -> Option<OsString>) -> Option<String> {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| get("HOSTNAME").or_else(|| get("COMPUTERNAME"))?.into_string().ok())?;
    let plain: String = told
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        .take(64)
        .collect();
    (!plain.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Environment {
        Environment::from(&|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[cfg(unix)]
    #[test]
    fn the_credentials_are_where_the_contract_says() {
        let file = |variables: &[(&str, &str)]| with(variables).credentials.map(|file| file.display().to_string());
        let home = ("HOME", "/home/ann");
        assert_eq!(file(&[home]).unwrap(), "/home/ann/.config/mlgate/credentials.json");
        assert_eq!(
            file(&[home, ("XDG_CONFIG_HOME", "/c")]).unwrap(),
            "/c/mlgate/credentials.json"
        );
        assert_eq!(
            file(&[home, ("XDG_CONFIG_HOME", "c")]).unwrap(),
            "/home/ann/.config/mlgate/credentials.json"
        );
        assert_eq!(file(&[home, ("MLGATE_CREDENTIALS", "x/y.json")]).unwrap(), "x/y.json");
        assert!(!with(&[home, ("MLGATE_CREDENTIALS", "x/y.json")]).owns_folder);
        assert_eq!(file(&[]), None);
    }

    #[test]
    fn an_entry_for_the_host_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("netrc");
        std::fs::write(&file, "machine a.test login ann password x\n").unwrap();
        let there = with(&[("NETRC", file.to_str().unwrap())]);
        let names = |url: &str| there.netrc_names(&GatewayUrl::parse(url).unwrap());
        assert!(names("https://a.test:8443") && !names("https://b.test"));
        std::fs::write(&file, "default login ann password x\n").unwrap();
        assert!(names("https://b.test"));
        assert!(!with(&[]).netrc_names(&GatewayUrl::parse("https://a.test").unwrap()));
    }

    #[test]
    fn a_command_is_found_as_a_shell_would() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tool"), "").unwrap();
        let there = with(&[("PATH", folder.path().to_str().unwrap())]);
        assert_eq!(there.find(OsStr::new("tool")), Some(folder.path().join("tool")));
        assert_eq!(there.find(OsStr::new("none")), None);
        assert_eq!(there.find(folder.path().join("none").as_os_str()), None);
    }
}
