"""Real MLflow servers with one worker and a database of many experiments: bare, with MLflow's own basic-auth, or inside mlflow-oidc-auth."""

import os
import pathlib
import shutil
import sqlite3
import subprocess
import time

from .machine import PARTS, free_port, until_answers

BARE = ["uvicorn", "--host", "127.0.0.1", "--port", "{port}", "mlflow.server.fastapi_app:app"]
BARE_2 = ["gunicorn", "-w", "1", "--threads", "8", "-b", "127.0.0.1:{port}", "mlflow.server:app"]
BASIC_AUTH = ["uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--factory", "mlflow.server.auth:create_app"]
OIDC_AUTH = ["uvicorn", "--host", "127.0.0.1", "--port", "{port}", "mlflow_oidc_auth.app:app"]


class Mlflow:
    def __init__(self, bench, version, names, app=None, environment={}, venv=None, core=None, headers={}):
        """`names`: of the experiments, whose ids are 1000 and up."""
        folder = bench.folder / f"mlflow-{free_port()}"
        folder.mkdir()
        self.python = PARTS / f"{venv or f'mlflow-{version}'}/bin/python"
        store = f"sqlite:///{folder / 'mlflow.db'}"
        make_database(self.python, version, folder / "mlflow.db", store)
        seed(folder / "mlflow.db", names)
        self.port = free_port()
        app = app or (BARE_2 if version.startswith("2.") else BARE)
        environment = os.environ | {
            "_MLFLOW_SERVER_FILE_STORE": store,
            "_MLFLOW_SERVER_REGISTRY_STORE": store,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        } | environment
        command = [self.python, "-W", "ignore", "-m", *(part.format(port=self.port) for part in app)]
        self.process = bench.start(core, command, folder.name, env=environment, cwd=folder)
        until_answers(self.port, "/health", seconds=180, headers=headers)


def make_database(python, version, database, store):
    """An empty one with MLflow's tables; the tests keep one for each version."""
    made = PARTS / f"mlflow-{version}.db"
    if made.exists():
        shutil.copy(made, database)
        return
    script = "import sys; from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore; SqlAlchemyStore(sys.argv[1], 'mlflow-artifacts:/')"
    subprocess.run([python, "-W", "ignore", "-c", script, store], check=True)


def seed(database, names):
    connection = sqlite3.connect(database)
    columns = [row[1] for row in connection.execute("pragma table_info(experiments)")]
    # One a minute until an hour ago: what changed lately is asked for again and again.
    first = int(time.time() * 1000) - 3_600_000 - 60_000 * len(names)
    extra = ("workspace",) if "workspace" in columns else ()
    into = ("experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time", *extra)
    insert = f"insert into experiments ({','.join(into)}) values ({','.join('?' * len(into))})"
    connection.executemany(insert, [
        (1000 + place, name, f"mlflow-artifacts:/{1000 + place}", "active", *[first + 60_000 * place] * 2, *("default" for _ in extra))
        for place, name in enumerate(names)
    ])
    connection.commit()
    connection.close()
