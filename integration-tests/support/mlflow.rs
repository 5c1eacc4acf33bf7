//! Real MLflow servers, one process each, as `mlflow server` would run them but without its job runner.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use super::http::Request;
use super::process::{Server, until};
use super::{free_port, parts};

/// The versions that `integration-tests/setup.sh` installs.
pub const NEWEST: &str = "3.18";
pub const MIDDLE: &str = "3.5";
pub const OLDEST: &str = "2.22";

pub struct Mlflow {
    pub version: &'static str,
    /// `127.0.0.1:PORT`
    pub authority: String,
    server: Server,
    folder: TempDir,
}

impl Mlflow {
    /// The server of a version that all tests of this run share; each test gives its things names of its own.
    pub fn shared(version: &'static str) -> Arc<Self> {
        static SHARED: LazyLock<Mutex<HashMap<&'static str, Arc<Mlflow>>>> = LazyLock::new(Mutex::default);
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared
            .entry(version)
            .or_insert_with(|| Arc::new(Self::start(version)))
            .clone()
    }

    /// A server of one's own, on an empty database.
    pub fn start(version: &'static str) -> Self {
        Self::start_with(version, &[])
    }

    /// The newest with its own users and roles, which the variables set up.
    pub fn start_with_auth(variables: &[(&str, &str)]) -> Self {
        Self::start_app(NEWEST, &["--factory", "mlflow.server.auth:create_app"], variables)
    }

    /// Likewise, with further variables in its environment.
    pub fn start_with(version: &'static str, variables: &[(&str, &str)]) -> Self {
        Self::start_app(version, &[app(version)], variables)
    }

    /// A server on what such a folder holds by now.
    pub fn start_in(folder: TempDir, version: &'static str) -> Self {
        Self::start_app_in(folder, version, &[app(version)], &[])
    }

    fn start_app(version: &'static str, app: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_app_in(empty_folder(version), version, app, variables)
    }

    fn start_app_in(folder: TempDir, version: &'static str, app: &[&str], variables: &[(&str, &str)]) -> Self {
        let database = folder.path().join("mlflow.db");
        let port = free_port();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(python(version));
        let store = format!("sqlite:///{}", database.display());
        command
            .args(["-m"])
            .args(if version == OLDEST {
                &["gunicorn", "-w", "1", "--threads", "8", "-b"][..]
            } else {
                &["uvicorn", "--host", "127.0.0.1", "--port"]
            })
            .arg(if version == OLDEST {
                format!("127.0.0.1:{port}")
            } else {
                port.to_string()
            })
            .args(app)
            .current_dir(folder.path())
            .env("_MLFLOW_SERVER_FILE_STORE", &store)
            .env("_MLFLOW_SERVER_REGISTRY_STORE", &store)
            .env("_MLFLOW_SERVER_ARTIFACT_ROOT", "mlflow-artifacts:/")
            .env("_MLFLOW_SERVER_ARTIFACT_DESTINATION", folder.path().join("artifacts"))
            .env("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true")
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .env("MLFLOW_DISABLE_TELEMETRY", "true")
            .env("DO_NOT_TRACK", "true")
            .envs(variables.iter().copied())
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log));
        let mut server = Server::start(&mut command);
        let authority = format!("127.0.0.1:{port}");
        until(&format!("MLflow {version} answers"), Duration::from_secs(180), || {
            assert!(
                server.is_running(),
                "MLflow {version} ended: {}",
                read_log(folder.path())
            );
            // It listens long before it answers.
            let answer = Request::get("/health").try_send(&authority);
            answer.is_ok_and(|answer| answer.status == 200)
        });
        Self {
            version,
            authority,
            server,
            folder,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// Asks MLflow itself, past the gateway.
    pub fn ask(&self, request: &Request) -> super::http::Response {
        request.send(&self.authority)
    }

    /// What it has written so far, a line for each request.
    pub fn log(&self) -> String {
        read_log(self.folder.path())
    }

    pub fn process(&self) -> &Server {
        &self.server
    }
}

/// The module and name that a version's server is started by.
fn app(version: &str) -> &'static str {
    if version == OLDEST {
        "mlflow.server:app"
    } else {
        "mlflow.server.fastapi_app:app"
    }
}

/// What a server of a version is started in, with an empty database, `mlflow.db`; its artifacts go to `artifacts`.
pub fn empty_folder(version: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(migrated(version), folder.path().join("mlflow.db")).unwrap();
    folder
}

fn read_log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// The interpreter that has a version of MLflow.
pub fn python(version: &str) -> PathBuf {
    parts().join(format!("mlflow-{version}/bin/python"))
}

/// An empty database with MLflow's tables, made once a version: migrating takes longer than all else at its start.
fn migrated(version: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let made = parts().join(format!("mlflow-{version}.db"));
    if !made.exists() {
        let making = parts().join(format!("mlflow-{version}.db.{}", std::process::id()));
        let script = "import sys; from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore; \
                      SqlAlchemyStore('sqlite:///' + sys.argv[1], 'mlflow-artifacts:/')";
        let made_it = Command::new(python(version))
            .args(["-c", script])
            .arg(&making)
            .output()
            .unwrap_or_else(|error| {
                panic!("MLflow {version} is not installed; run integration-tests/setup.sh mlflow-{version}: {error}")
            });
        assert!(made_it.status.success(), "{}", String::from_utf8_lossy(&made_it.stderr));
        std::fs::rename(&making, &made).unwrap();
    }
    made
}
