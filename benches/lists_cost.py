"""What a page of `experiments/search` costs MLflow, asked through the gateway and asked directly.

Usage: python3 benches/lists_cost.py MLGATE VERSION...     MLGATE: the binary; VERSION: 3.18, 3.5 or 2.22, as integration-tests/setup.sh installs them.

10,000 experiments, of which a member may see 20, or a third; in both cases once by the start of their names and once not. CPU is user and system time of MLflow's one worker
out of /proc, of pages of 25 as MLflow's screens ask for them, in alternation with the same page asked of MLflow itself, after the first page has filled the gateway's index.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

PARTS = pathlib.Path(__file__).resolve().parent.parent / "target/parts"
ROUNDS, PAGES, ALL = 9, 30, 10_000
ROLES = {"few-alike": ["few/*"], "few": ["*-few"], "third-alike": ["third/*"], "third": ["*-third"]}
QUESTION = {"max_results": 25, "order_by": ["last_update_time DESC"], "view_type": "ACTIVE_ONLY"}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def name_of(number):
    """Of each 500th and each third experiment, half of the cases see names that start alike and half names that end so."""
    start = "few" if number % 500 == 7 else "third" if number % 3 == 1 else f"rest{number % 17}"
    end = "few" if number % 500 == 8 else "third" if number % 3 == 2 else "rest"
    return f"{start}/{number % 89:02d}-{number:05d}-{end}"


def seed(database):
    connection = sqlite3.connect(database)
    columns = [row[1] for row in connection.execute("pragma table_info(experiments)")]
    now = int(time.time() * 1000) - 3_600_000
    extra = ("workspace",) if "workspace" in columns else ()
    names = ("experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time", *extra)
    insert = f"insert into experiments ({','.join(names)}) values ({','.join('?' * len(names))})"
    rows = [
        (1000 + n, name_of(n), f"mlflow-artifacts:/{1000 + n}", "active", now + n, now + n, *("default" for _ in extra)) for n in range(ALL)
    ]
    connection.executemany(insert, rows)
    connection.commit()


def start_mlflow(version, folder):
    database = folder / "mlflow.db"
    made = PARTS / f"mlflow-{version}.db"
    if made.exists():
        shutil.copy(made, database)
    store = f"sqlite:///{database}"
    python = PARTS / f"mlflow-{version}/bin/python"
    if not made.exists():
        script = "import sys; from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore; SqlAlchemyStore(sys.argv[1], 'mlflow-artifacts:/')"
        subprocess.run([python, "-W", "ignore", "-c", script, store], check=True)
    seed(database)
    port = free_port()
    old = version.startswith("2.")
    command = (
        ["gunicorn", "-w", "1", "--threads", "8", "-b", f"127.0.0.1:{port}", "mlflow.server:app"]
        if old
        else ["uvicorn", "--host", "127.0.0.1", "--port", str(port), "mlflow.server.fastapi_app:app"]
    )
    environment = os.environ | {
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_REGISTRY_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    log = open(folder / "mlflow.log", "w")
    process = subprocess.Popen([python, "-W", "ignore", "-m", *command], env=environment, cwd=folder, stdout=log, stderr=log)
    wait_for(port, "/health")
    return process, port


def wait_for(port, path):
    for _ in range(1800):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}").read()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing answers at {port}{path}")


def start_gateway(binary, mlflow_port, folder):
    port = free_port()
    roles = "".join(
        f'[[role]]\nname = "{name}"\nusers = ["local:{name}"]\ngrants = [{{ permission = "READ", experiments = {json.dumps(patterns)} }}]\n'
        for name, patterns in ROLES.items()
    )
    hashed = subprocess.run([binary, "hash-password", "--allow-weak"], input="a long one\n", capture_output=True, text=True, check=True).stdout.strip()
    users = "".join(f'[[user]]\nname = "{name}"\npassword_hash = "{hashed}"\ngroups = []\n' for name in ROLES)
    (folder / "users.toml").write_text(users)
    config = folder / "mlgate.toml"
    config.write_text(
        f'public_url = "http://127.0.0.1:{port}"\n[listen]\naddress = "127.0.0.1:{port}"\nadmin_address = "127.0.0.1:{free_port()}"\n'
        f'[[upstream]]\nname = "production"\nurl = "http://127.0.0.1:{mlflow_port}"\n[audit]\nfile = "audit.jsonl"\n'
        f'[[provider]]\nid = "local"\nkind = "local"\nlabel = "Local"\nusers_file = "users.toml"\n{roles}'
    )
    log = open(folder / "mlgate.log", "w")
    process = subprocess.Popen([binary, "serve", "--config", config], stdout=log, stderr=log)
    wait_for(port, "/auth/readyz")
    def token(user):
        made = [binary, "tokens", "create", "--user", user, "--provider", "local", "--name", "bench", "--lifetime", "1h", "--config", config]
        return subprocess.run(made, capture_output=True, text=True, check=True).stdout.strip()
    return process, port, {name: token(name) for name in ROLES}


def processes_of(port, root):
    """The server's own process and its children, as gunicorn has them."""
    listening = subprocess.run(["ss", "-ltnp", f"sport = :{port}"], capture_output=True, text=True).stdout
    return {int(pid) for pid in re.findall(r"pid=(\d+)", listening)} | {root}


def cpu(pids):
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def ask(port, token=None):
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search", json.dumps(QUESTION).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        return len(json.load(answer).get("experiments", []))


def measure(version, binary):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        mlflow, mlflow_port = start_mlflow(version, folder)
        gateway, port, tokens = start_gateway(binary, mlflow_port, folder)
        try:
            pids = processes_of(mlflow_port, mlflow.pid)
            def cost(*where):
                before = cpu(pids)
                for _ in range(PAGES):
                    ask(*where)
                return 1000 * (cpu(pids) - before) / PAGES
            ask(mlflow_port)
            for case, token in tokens.items():
                before = cpu(pids)
                rows = ask(port, token)
                first = 1000 * (cpu(pids) - before)
                ratios, costs = [], []
                for _ in range(ROUNDS):
                    direct, through = cost(mlflow_port), cost(port, token)
                    ratios.append(through / direct)
                    costs.append((direct, through))
                direct, through = (statistics.median(column) for column in zip(*costs))
                print(
                    f"MLflow {version}, {case:12}: {rows} rows, {direct:.1f} ms direct, {through:.1f} ms through the gateway, "
                    f"ratio {statistics.median(ratios):.2f} [{min(ratios):.2f} to {max(ratios):.2f}]; the first page {first:.0f} ms",
                    flush=True,
                )
        finally:
            for process in (gateway, mlflow):
                process.terminate()
                process.wait()


if __name__ == "__main__":
    for asked in sys.argv[2:]:
        measure(asked, pathlib.Path(sys.argv[1]).resolve())
