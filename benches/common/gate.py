"""The gateway under measure: session, policy and audit of reads on, as in its defaults."""

import http.client
import re
import subprocess
import urllib.parse

from .machine import MEASURED, MLGATE, free_port, until_answers

PASSWORD = "violet anchor riding 92 tram"
# The same hashed with the least work that argon2id allows, for signing in a hundred thousand times.
CHEAP = "$argon2id$v=19$m=8,t=1,p=1$YmVuY2htYXJrc2FsdA$S1bX471Mf7R46NA3h75ZfApcrUMwJJ5RAx3Hhpj/8Tk"

USUAL = '[[role]]\nname = "team"\ngroups = ["local:team"]\ngrants = [{ permission = "EDIT", experiments = ["bench*"] }]\n'


class Gate:
    def __init__(self, bench, upstream, roles=USUAL, users=("ann",), sections="", listen="", core=MEASURED, hashed=None):
        self.bench = bench
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.admin = free_port()
        hashed = hashed or subprocess.run(
            [MLGATE, "hash-password"], input=PASSWORD, capture_output=True, text=True, check=True
        ).stdout.strip()
        folder = bench.folder / f"gate-{self.port}"
        folder.mkdir()
        (folder / "users.toml").write_text(
            "".join(f'[[user]]\nname = "{user}"\npassword_hash = "{hashed}"\ngroups = ["team"]\n' for user in users)
        )
        self.config = folder / "mlgate.toml"
        self.config.write_text(
            f'public_url = "{self.origin}"\n[listen]\naddress = "127.0.0.1:{self.port}"\nadmin_address = "127.0.0.1:{self.admin}"\n{listen}'
            f'[[upstream]]\nname = "bench"\nurl = "http://127.0.0.1:{upstream}"\n[session]\nstore = "memory"\n'
            '[[provider]]\nid = "local"\nkind = "local"\nusers_file = "users.toml"\n[telemetry]\nlog = "warn"\n'
            f'[audit]\nfile = "audit/mlgate.jsonl"\nreads = true\n{sections}{roles}'
        )
        self.trail = folder / "audit/mlgate.jsonl"
        self.process = bench.start(core, [MLGATE, "serve", "--config", self.config], f"gate-{self.port}")
        self.started_in = until_answers(self.port, "/auth/readyz")

    def sign_in(self, user="ann", connection=None):
        """The session's cookie, `mlgate=…`."""
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", "/auth/login/local", headers={"Accept": "text/html"})
        form = connection.getresponse()
        cookie = form.getheader("Set-Cookie").split(";")[0]
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', form.read().decode()).group(1)
        connection.request(
            "POST",
            "/auth/login/local",
            urllib.parse.urlencode({"username": user, "password": PASSWORD, "rd": "/", "csrf_token": token}),
            {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie, "Origin": self.origin},
        )
        answer = connection.getresponse()
        answer.read()
        cookies = [value.split(";")[0] for name, value in answer.getheaders() if name.lower() == "set-cookie"]
        return next(cookie for cookie in cookies if cookie.startswith("mlgate=") and len(cookie) > len("mlgate="))

    def token(self, user="ann"):
        made = [MLGATE, "tokens", "create", "--user", user, "--provider", "local", "--name", "bench", "--lifetime", "1h", "--config", self.config]
        return subprocess.run(made, capture_output=True, text=True, check=True).stdout.strip()

    def events(self):
        """The head tells the last event's number; most of them may be in packed files."""
        return int(self.trail.with_name(self.trail.name + ".head").read_text().split()[0])
