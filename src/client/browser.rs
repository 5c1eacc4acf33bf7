//! Opening an address in this machine's browser.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use url::Url;

use super::Environment;

/// A command that opens addresses.
#[derive(Debug, PartialEq, Eq)]
pub struct Browser {
    program: PathBuf,
    arguments: Vec<OsString>,
}

/// The browser at hand: `BROWSER`, or the desktop's where somebody sits in front of one.
pub fn at_hand(environment: &Environment) -> Option<Browser> {
    let found = |program: &str, arguments: &[&str]| {
        environment.find(program.as_ref()).map(|program| Browser {
            program,
            arguments: arguments.iter().map(OsString::from).collect(),
        })
    };
    let chosen = environment
        .browsers
        .iter()
        .find_map(|name| environment.find(name.as_os_str()));
    if let Some(program) = chosen {
        return Some(Browser {
            program,
            arguments: Vec::new(),
        });
    }
    if environment.is_remote || !environment.has_display {
        return None;
    }
    if cfg!(target_os = "macos") {
        return found("open", &[]);
    }
    if cfg!(windows) {
        return found("rundll32.exe", &["url.dll,FileProtocolHandler"]);
    }
    ["xdg-open", "gio", "x-www-browser", "sensible-browser", "wslview"]
        .into_iter()
        .find_map(|program| found(program, if program == "gio" { &["open"] } else { &[] }))
}

impl Browser {
    /// Whether it started; what it says goes nowhere, for it would mix with what the command says.
    pub fn open(&self, address: &Url) -> bool {
        Command::new(&self.program)
            .args(&self.arguments)
            .arg(address.as_str())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_at_hand_where_somebody_could_see_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["xdg-open", "mine"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let desk = Environment {
            has_display: true,
            path: vec![folder.path().to_owned()],
            ..Environment::default()
        };
        let program = |environment: &Environment| at_hand(environment).map(|browser| browser.program);
        assert_eq!(program(&desk), Some(folder.path().join("xdg-open")));
        let remote = Environment {
            is_remote: true,
            ..desk.clone()
        };
        let blind = Environment {
            has_display: false,
            ..desk.clone()
        };
        let bare = Environment {
            path: Vec::new(),
            ..desk
        };
        for without in [&remote, &blind, &bare] {
            assert_eq!(program(without), None);
        }
        let chosen = Environment {
            browsers: vec!["none".into(), "mine".into()],
            ..remote
        };
        assert_eq!(program(&chosen), Some(folder.path().join("mine")));
    }
}
