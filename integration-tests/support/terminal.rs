//! A person's terminal: the command in a home folder of its own, and what it says while it waits.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::gateway::binary;
use super::mlflow::python;
use super::{parts, root};

/// What a shell of a person could hand on, and a test must not.
const FOREIGN: [&str; 16] = [
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "BROWSER",
    "SSH_CONNECTION",
    "SSH_TTY",
    "NETRC",
    "XDG_CONFIG_HOME",
    "MLGATE_CREDENTIALS",
    "MLGATE_TOKEN",
    "MLGATE_TOKEN_FILE",
    "MLGATE_ID_TOKEN",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_AUTH",
];

pub struct Terminal {
    pub home: TempDir,
}

impl Terminal {
    pub fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
        }
    }

    pub fn credentials(&self) -> PathBuf {
        self.home.path().join(".config/mlgate/credentials.json")
    }

    /// Any command, at home here and with nothing of the test's own environment that matters.
    pub fn at_home(&self, mut command: Command) -> Command {
        for name in FOREIGN {
            command.env_remove(name);
        }
        command
            .env("HOME", self.home.path())
            .env("MLFLOW_DISABLE_TELEMETRY", "true")
            .env("DO_NOT_TRACK", "true")
            .env("GIT_PYTHON_REFRESH", "quiet")
            .stdin(Stdio::null());
        command
    }

    pub fn mlgate(&self, arguments: &[&str]) -> Command {
        let mut command = self.at_home(binary());
        command.args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.mlgate(arguments).output().unwrap()
    }

    /// What a command prints, without the line's end; it must succeed.
    #[track_caller]
    pub fn says(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(
            ran.status.code(),
            Some(0),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8(ran.stdout).unwrap().trim_end().to_owned()
    }

    /// A Python of a version with the plugin, for a gateway.
    pub fn python(&self, version: &'static str, url: &str) -> Command {
        let mut command = self.at_home(Command::new(python(version)));
        command
            .env("PYTHONPATH", plugin(version))
            .env("PYTHONWARNINGS", "ignore")
            .env("MLFLOW_TRACKING_URI", url);
        command
    }
}

/// A command that has begun to speak.
pub struct Waiting {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

impl Waiting {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            said: String::new(),
        }
    }

    pub fn line(&mut self) -> String {
        let line = self.lines.recv_timeout(Duration::from_secs(60));
        let line = line.unwrap_or_else(|_| panic!("it said no more than:\n{}", self.said));
        self.said += &format!("{line}\n");
        line
    }

    /// The next indented line: an address or a code.
    pub fn shown(&mut self) -> String {
        loop {
            let line = self.line();
            if let Some(shown) = line.strip_prefix("  ") {
                return shown.to_owned();
            }
        }
    }

    /// The exit code and all that was said, on both outputs.
    pub fn end(mut self) -> (Option<i32>, String, String) {
        let ended = self.child.wait_with_output().unwrap();
        self.said.extend(self.lines.iter().map(|line| format!("{line}\n")));
        (
            ended.status.code(),
            self.said,
            String::from_utf8_lossy(&ended.stderr).into_owned(),
        )
    }
}

/// The folder of `mlflow-mlgate`, installed for a version of MLflow as pip would, beside it and not into it.
pub fn plugin(version: &'static str) -> &'static Path {
    static INSTALLED: LazyLock<Mutex<Vec<(&'static str, &'static Path)>>> = LazyLock::new(Mutex::default);
    let mut installed = INSTALLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, folder)) = installed.iter().find(|(name, _)| *name == version) {
        return folder;
    }
    let target = root().join(format!("target/plugin-{version}-{}", std::process::id()));
    let source = root().join(format!("target/plugin-{version}-{}.source", std::process::id()));
    // A copy: building leaves its own files beside the source.
    let copied = Command::new("cp")
        .arg("-r")
        .arg(root().join("clients/python"))
        .arg(&source)
        .status()
        .unwrap();
    assert!(copied.success());
    let ran = Command::new(parts().join("uv/bin/uv"))
        .args(["pip", "install", "-q", "--no-deps", "--python"])
        .arg(parts().join(format!("mlflow-{version}")))
        .arg("--target")
        .arg(&target)
        .arg(&source)
        .output()
        .expect("uv runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    std::fs::remove_dir_all(&source).unwrap();
    let folder: &'static Path = Box::leak(target.into_boxed_path());
    installed.push((version, folder));
    folder
}
