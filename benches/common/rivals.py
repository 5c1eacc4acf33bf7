"""Others at the same work."""

import base64
import hashlib
import http.client
import secrets
import sys
import urllib.parse

from .gate import PASSWORD
from .machine import MEASURED, PARTS, free_port, until_answers

ANSWER = '{"experiment":{"experiment_id":"1","name":"bench","artifact_location":"' + "x" * 930 + '"}}'
RUN = '{"run":{"info":{"run_id":"' + "a" * 32 + '","experiment_id":"1"}}}'


class FastUpstream:
    """nginx in MLflow's place, with answers of its own: what is left is the cost of what stands in front."""

    def __init__(self, bench, core):
        self.port = free_port()
        self.process = bench.nginx(
            core,
            "upstream",
            f"server {{ listen 127.0.0.1:{self.port}; default_type application/json; location = /version {{ return 200 '3.18.0'; }} "
            f"location = /api/2.0/mlflow/runs/get {{ return 200 '{RUN}'; }} location = /api/2.0/mlflow/runs/log-metric {{ return 200 '{{}}'; }} "
            f"location = /files/1KiB {{ return 200 '{'x' * 1024}'; }} location / {{ return 200 '{ANSWER}'; }} }}",
        )
        until_answers(self.port)


class Nginx:
    """A plain proxy: no sign-in, no policy, no trail. The limit."""

    def __init__(self, bench, upstream, core=MEASURED, more=""):
        self.port = free_port()
        self.process = bench.nginx(
            core,
            f"nginx-{self.port}",
            f"upstream u {{ server 127.0.0.1:{upstream}; keepalive 128; }} server {{ listen 127.0.0.1:{self.port}; {more} "
            "location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ''; } }",
        )
        until_answers(self.port)


class Oauth2Proxy:
    """Signed in by its form; sessions in the cookie, as in its defaults; its request log goes to a file. It has no policy to ask."""

    def __init__(self, bench, upstream, core=MEASURED):
        self.port = free_port()
        passwords = bench.folder / "htpasswd"
        passwords.write_text("ann:{SHA}" + base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode() + "\n")
        command = [
            PARTS / "bin/oauth2-proxy",
            f"--http-address=127.0.0.1:{self.port}",
            f"--upstream=http://127.0.0.1:{upstream}/",
            "--provider=google",
            "--client-id=bench",
            "--client-secret=bench",
            "--email-domain=*",
            "--cookie-secure=false",
            f"--cookie-secret={secrets.token_hex(16)}",
            f"--htpasswd-file={passwords}",
            "--display-htpasswd-form=true",
            "--set-xauthrequest=true",
        ]
        self.process = bench.start(core, command, f"oauth2-proxy-{self.port}")
        until_answers(self.port, "/ping")

    def sign_in(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        body = urllib.parse.urlencode({"username": "ann", "password": PASSWORD, "rd": "/"})
        connection.request("POST", "/oauth2/sign_in", body, {"Content-Type": "application/x-www-form-urlencoded"})
        answer = connection.getresponse()
        answer.read()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie" and value.startswith("_oauth2_proxy="):
                return value.split(";")[0]
        sys.exit(f"oauth2-proxy signs nobody in: {answer.status}")
