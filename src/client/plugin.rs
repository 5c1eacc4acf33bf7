//! Whether a command will have the Python package `mlflow-mlgate`, so that MLflow can fetch fresh tokens by itself.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Environment;

const MODULE: &str = "mlflow_mlgate";

/// Asks the Python that the command most likely runs on.
pub fn is_installed(command: &OsStr, environment: &Environment) -> bool {
    python(command, environment).is_some_and(|python| {
        let script = format!("import importlib.util, sys; sys.exit(importlib.util.find_spec('{MODULE}') is None)");
        let asked = Command::new(python)
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        asked.is_ok_and(|status| status.success())
    })
}

/// The command itself, the interpreter that its first line names, or the first Python on the path.
fn python(command: &OsStr, environment: &Environment) -> Option<PathBuf> {
    let is_python = |file: &Path| {
        let name = file.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with("python"))
    };
    let file = environment.find(command);
    if let Some(file) = &file {
        if is_python(file) {
            return Some(file.clone());
        }
        if let Some(interpreter) = first_line(file)
            .map(PathBuf::from)
            .filter(|interpreter| is_python(interpreter))
        {
            return Some(interpreter);
        }
    }
    ["python3", "python"]
        .into_iter()
        .find_map(|name| environment.find(name.as_ref()))
}

/// What follows `#!`, up to a blank.
fn first_line(file: &Path) -> Option<String> {
    let mut line = Vec::new();
    let start = File::open(file).ok()?.take(512);
    BufReader::new(start).read_until(b'\n', &mut line).ok()?;
    let line = String::from_utf8(line).ok()?;
    line.strip_prefix("#!")?.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_python_of_a_command_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("python3", "");
        write("mlflow", "#!/venv/bin/python3.11 -E\n");
        write("train.sh", "#!/bin/sh\n");
        let environment = Environment {
            path: vec![folder.path().to_owned()],
            ..Environment::default()
        };
        let python = |command: &str| python(command.as_ref(), &environment);
        assert_eq!(python("python3"), Some(folder.path().join("python3")));
        assert_eq!(python("mlflow"), Some(PathBuf::from("/venv/bin/python3.11")));
        assert_eq!(python("train.sh"), Some(folder.path().join("python3")));
        assert_eq!(python("unknown"), Some(folder.path().join("python3")));
        let without = Environment::default();
        assert_eq!(super::python("unknown".as_ref(), &without), None);
        assert!(!is_installed("unknown".as_ref(), &without));
    }
}
