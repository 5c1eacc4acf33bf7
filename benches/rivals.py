"""What authorization costs with a real MLflow: CPU of all servers for one request, asked of MLflow without any, through mlgate, with MLflow's own
basic-auth, and inside mlflow-oidc-auth.

Usage: rivals.py [ROUNDS]

400 experiments, of which a member may edit 200, each by a grant of its own. One worker, SQLite. basic-auth checks the password of each request anew.
"""

import base64
import concurrent.futures
import http.client
import http.client
import json
import subprocess
import sys

from common.gate import CHEAP, Gate
from common.machine import Bench, cpu, interleaved, ratios, spread
from common.mlflow import BASIC_AUTH, OIDC_AUTH, Mlflow

VERSION = "3.18"
NAMES = [f"team-{number % 2}/{number:03d}" for number in range(400)]
MINE = [1000 + number for number in range(400) if number % 2]
MEMBER = ("ann", "another long password for it")

# Both by their own code: users and grants one by one over HTTP would take longer than all else here.
MAKE_USER = """
import sys
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore
store = SqlAlchemyStore()
store.init_db(sys.argv[1])
store.create_user(sys.argv[2], sys.argv[3])
for experiment in sys.argv[4:]:
    store.create_experiment_permission(experiment, sys.argv[2], 'EDIT')
"""

MAKE_TOKEN = """
import sys, datetime
from mlflow_oidc_auth.sqlalchemy_store import SqlAlchemyStore
store = SqlAlchemyStore()
store.init_db(sys.argv[1])
store.create_user('ann', 'Ann')
for experiment in sys.argv[2:]:
    store.create_experiment_permission(experiment, 'ann', 'EDIT')
print(store.create_user_token('ann', 'bench', datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=5), 'ann')[1])
"""


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Client:
    def __init__(self, port, headers):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.headers = headers | {"Content-Type": "application/json"}

    def ask(self, method, path, body=None):
        self.connection.request(method, path, None if body is None else json.dumps(body), self.headers)
        answer = self.connection.getresponse()
        read = answer.read()
        if answer.status != 200:
            sys.exit(f"{method} {path}: {answer.status} {read[:300]}")
        return json.loads(read or b"{}")


def without_auth(bench):
    return Mlflow(bench, VERSION, NAMES)


def with_basic_auth(bench):
    ini, users = bench.folder / "basic_auth.ini", f"sqlite:///{bench.folder}/basic.db"
    ini.write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = {users}\nadmin_username = admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(ini),
        "MLFLOW_AUTH_ADMIN_PASSWORD": "a long password for the bench",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for its forms",
        "_MLFLOW_SGI_NAME": "uvicorn",
    }
    mlflow = Mlflow(bench, VERSION, NAMES, BASIC_AUTH, environment)
    run(mlflow, MAKE_USER, users, *MEMBER)
    return mlflow, basic(*MEMBER)


def with_oidc_auth(bench):
    users = f"sqlite:///{bench.folder}/oidc.db"
    environment = {
        "OIDC_USERS_DB_URI": users,
        "SECRET_KEY": "for its sessions, and long enough for them",
        "OIDC_DISCOVERY_URL": "http://127.0.0.1:9/.well-known/openid-configuration",
        "OIDC_CLIENT_ID": "bench",
        "OIDC_CLIENT_SECRET": "bench",
    }
    mlflow = Mlflow(bench, VERSION, NAMES, OIDC_AUTH, environment, venv="mlflow-oidc-auth")
    token = run(mlflow, MAKE_TOKEN, users).split()[-1]
    return mlflow, basic("ann", token)


def run(mlflow, script, *arguments):
    """With the grants' experiments behind the arguments."""
    ran = subprocess.run([mlflow.python, "-W", "ignore", "-c", script, *arguments, *map(str, MINE)], capture_output=True, text=True)
    if ran.returncode:
        sys.exit(ran.stderr)
    return ran.stdout


def main(rounds=5):
    grants = json.dumps([NAMES[number - 1000] for number in MINE])
    roles = f'[[role]]\nname = "team"\ngroups = ["local:team"]\ngrants = [{{ permission = "EDIT", experiments = {grants} }}]\n'
    with Bench() as bench:
        # All at once: each takes its time to start.
        with concurrent.futures.ThreadPoolExecutor() as together:
            alone, by_basic, by_oidc = (together.submit(start, bench) for start in (without_auth, with_basic_auth, with_oidc_auth))
        bare, (basic_auth, basic_headers), (oidc_auth, oidc_headers) = alone.result(), by_basic.result(), by_oidc.result()
        gate = Gate(bench, bare.port, roles=roles, hashed=CHEAP, core=None)
        ways = {
            "MLflow alone": ([bare], Client(bare.port, {})),
            "mlgate": ([bare, gate], Client(gate.port, {"Authorization": f"Bearer {gate.token()}"})),
            "basic-auth": ([basic_auth], Client(basic_auth.port, basic_headers)),
            "mlflow-oidc-auth": ([oidc_auth], Client(oidc_auth.port, oidc_headers)),
        }
        runs = {}
        for name, (_, client) in ways.items():
            made = client.ask("POST", "/api/2.0/mlflow/runs/create", {"experiment_id": str(MINE[0])})
            runs[name] = made["run"]["info"]["run_id"]
        questions = {
            "GET experiments/get": (40, lambda _: ("GET", f"/api/2.0/mlflow/experiments/get?experiment_id={MINE[0]}")),
            "POST runs/log-metric": (40, lambda name: ("POST", "/api/2.0/mlflow/runs/log-metric", {
                "run_id": runs[name], "key": "loss", "value": 0.5, "timestamp": 1_700_000_000_000, "step": 1})),
            "POST experiments/search": (20, lambda _: ("POST", "/api/2.0/mlflow/experiments/search", {"max_results": 100})),
        }
        for what, (times, question) in questions.items():
            def case(name):
                servers, client = ways[name]
                def run():
                    # Servers close what has idled.
                    client.connection.close()
                    client.ask(*question(name))
                    before = [cpu(server.process) for server in servers]
                    for _ in range(times):
                        client.ask(*question(name))
                    spent = [1000 * (cpu(server.process) - start) / times for server, start in zip(servers, before)]
                    return sum(spent), spent[-1]
                return run
            found = interleaved({name: case(name) for name in ways}, rounds)
            print(what)
            for name, results in found.items():
                line = f"  {name:<17} {spread((all for all, _ in results), '{:.1f}')} ms CPU"
                if name != "MLflow alone":
                    line += f"   to MLflow alone {spread(ratios(results, found['MLflow alone'], 0))}"
                print(line, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
