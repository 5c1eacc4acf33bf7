"""The plugin against a gateway that says what it is told to; the real one answers in ``integration-tests``."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import tempfile
import threading
import time
import unittest
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock
from urllib.parse import parse_qs

import mlflow
import requests
from mlflow.tracking.request_auth.registry import fetch_auth

from mlflow_mlgate import MlgateAuth
from mlflow_mlgate import _credentials, _jobs
from mlflow_mlgate._chain import Chain, chain, holds, may_carry_secrets
from mlflow_mlgate._errors import MlgateError


class Gateway:
    """Rotates refresh tokens, refuses used ones, and answers 401 to tokens that it did not give."""

    def __init__(self, lifetime: int = 60) -> None:
        self.lifetime = lifetime
        self.generation = 0
        self.access = "mlg_at_0"
        self.is_over = False
        self.away = 0
        self.seen: list[tuple[str, str | None, bytes]] = []
        self.refreshed: Counter[str] = Counter()
        self.exchanged: list[str] = []
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def answer(self, status: int, body: object) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with lock:
                    if self.path == "/auth/oauth2/token":
                        self.token({name: values[0] for name, values in parse_qs(body.decode()).items()})
                        return
                    shown = self.headers.get("Authorization")
                    outer.seen.append((self.path, shown, body))
                    fine = shown == f"Bearer {outer.access}"
                    self.answer(200 if fine else 401, {"ok": fine})

            do_GET = do_PUT = do_POST

            def token(self, fields: dict[str, str]) -> None:
                if outer.away:
                    outer.away -= 1
                    self.answer(503, {})
                elif outer.is_over:
                    self.answer(400, {"error": "invalid_grant"})
                elif fields["grant_type"] == "refresh_token":
                    outer.refreshed[fields["refresh_token"]] += 1
                    if fields["refresh_token"] != f"mlg_rt_{outer.generation}":
                        self.answer(400, {"error": "invalid_grant"})
                        return
                    outer.generation += 1
                    outer.access = f"mlg_at_{outer.generation}"
                    self.give(refresh_token=f"mlg_rt_{outer.generation}")
                else:
                    outer.exchanged.append(fields["subject_token"])
                    if fields["subject_token"] == "evil":
                        self.answer(400, {"error": "invalid_grant", "error_description": "no rule fits"})
                        return
                    outer.access = f"mlg_at_x{len(outer.exchanged)}"
                    self.give()

            def give(self, **more: str) -> None:
                given = {"access_token": outer.access, "token_type": "Bearer", "expires_in": outer.lifetime}
                self.answer(200, {**given, **more})

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


class PluginTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.gateway = Gateway()
        self.addCleanup(self.gateway.__exit__)
        self.file = os.path.join(self.folder.name, "credentials.json")
        settings = {"HOME": self.folder.name, "MLGATE_CREDENTIALS": self.file}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLGATE_", "ACTIONS_", "MLFLOW_T"))}
        patch = mock.patch.dict(os.environ, {**kept, **settings}, clear=True)
        patch.start()
        self.addCleanup(patch.stop)
        mlflow.set_tracking_uri(self.gateway.url)
        self.auth = MlgateAuth(Chain())

    def sign_in(self, age: int = 0, lifetime: int = 60) -> None:
        now = int(time.time())
        entry = {
            "client_id": "mlgate-cli",
            "token_endpoint": f"{self.gateway.url}/auth/oauth2/token",
            "access_token": "mlg_at_0",
            "issued_at": now - age,
            "expires_at": now - age + lifetime,
            "refresh_token": "mlg_rt_0",
            "newer": ["kept"],
        }
        whole = {"version": 1, "default": self.gateway.url, "gateways": {self.gateway.url: entry}}
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as target:
            json.dump(whole, target)

    def saved(self) -> dict:
        with open(self.file) as source:
            return json.load(source)

    def post(self, url: str | None = None, **options: object) -> requests.Response:
        return requests.post(url or f"{self.gateway.url}/api/x", auth=self.auth, timeout=20, **options)

    def test_mlflow_finds_it_by_name(self) -> None:
        self.assertIsInstance(fetch_auth("mlgate"), MlgateAuth)

    def test_a_netrc_does_not_interfere(self) -> None:
        with open(os.path.join(self.folder.name, ".netrc"), "w") as netrc:
            netrc.write("machine 127.0.0.1 login ann password secret\n")
        os.chmod(netrc.name, 0o600)
        control = requests.post(f"{self.gateway.url}/api/x", headers={"Authorization": "Bearer mlg_at_0"}, timeout=20)
        self.assertEqual(control.status_code, 401, "the trap is there")
        self.sign_in()
        self.assertEqual(self.post().status_code, 200)
        self.sign_in(age=100)
        self.auth = MlgateAuth(Chain())
        self.assertEqual(self.post().status_code, 200, "refreshing, too")

    def test_a_stale_token_is_refreshed_and_the_rest_of_the_file_kept(self) -> None:
        self.sign_in(age=58)
        self.assertEqual(self.post().status_code, 200)
        kept = self.saved()["gateways"][self.gateway.url]
        self.assertEqual((kept["refresh_token"], kept["newer"]), ("mlg_rt_1", ["kept"]))
        self.assertEqual(os.stat(self.file).st_mode & 0o777, 0o600)
        self.assertEqual(sorted(os.listdir(self.folder.name)), ["credentials.json", "credentials.json.lock"])

    def test_a_token_that_the_gateway_forgot_is_replaced_and_the_body_sent_whole_again(self) -> None:
        for body in (b"bytes", io.BytesIO(b"a file")):
            self.sign_in()
            self.gateway.access, self.gateway.generation = "mlg_at_other", 0
            self.gateway.seen.clear()
            self.auth = MlgateAuth(Chain())
            self.assertEqual(self.post(data=body).status_code, 200)
            bodies = [seen[2] for seen in self.gateway.seen]
            self.assertEqual(len(bodies), 2)
            self.assertTrue(bodies[0] and bodies[0] == bodies[1])

    def test_a_sign_in_that_has_ended_is_forgotten_and_the_gateways_answer_stands(self) -> None:
        self.sign_in(age=100)
        self.gateway.is_over = True
        with self.assertLogs("mlflow_mlgate", "WARNING") as told:
            self.assertEqual(self.post().status_code, 401)
            self.assertEqual(self.post().status_code, 401)
        self.assertEqual(len(told.output), 1)
        self.assertIn(f"mlgate login {self.gateway.url}", told.output[0])
        self.assertEqual(self.saved()["gateways"], {})
        self.assertEqual({seen[1] for seen in self.gateway.seen}, {None})

    def test_a_gateway_that_restarts_fails_nobody(self) -> None:
        self.sign_in(age=100)
        self.gateway.away = 2
        self.assertEqual(self.post().status_code, 200)

    def test_one_that_is_away_does_not_spoil_a_token_that_is_good_still(self) -> None:
        self.sign_in(age=50)
        self.gateway.away = 1
        self.assertEqual(self.post().status_code, 200)
        self.assertEqual(self.gateway.seen[-1][1], "Bearer mlg_at_0")

    def test_a_token_goes_to_its_own_gateway_alone(self) -> None:
        self.sign_in()
        with Gateway() as other:
            self.post(f"{other.url}/api/x")
            self.assertEqual(other.seen[-1][1], None)
            with mock.patch.dict(os.environ, {"MLGATE_TOKEN": "mlg_pat_x"}):
                self.post(f"{other.url}/api/x")
                self.assertEqual(other.seen[-1][1], None)
                self.post()
                self.assertEqual(self.gateway.seen[-1][1], "Bearer mlg_pat_x")
        self.assertTrue(holds("https://a.test/ml", "https://A.test:443/ml/api"))
        for url in ("https://a.test/mlx", "http://a.test/ml/", "https://a.test.evil/ml/", "https://a.test:8443/ml/"):
            self.assertFalse(holds("https://a.test/ml", url), url)
        self.assertTrue(may_carry_secrets("http://localhost:80") and not may_carry_secrets("http://a.test"))

    def test_the_order_is_environment_then_platform_then_file(self) -> None:
        self.sign_in()
        token = os.path.join(self.folder.name, "jwt")
        with open(token, "w") as target:
            target.write("header.payload.signature\n")
        with mock.patch.dict(os.environ, {"MLGATE_TOKEN_FILE": token}):
            self.assertEqual(self.post().status_code, 200)
            self.assertEqual(self.post().status_code, 200)
            self.assertEqual(self.gateway.exchanged, ["header.payload.signature"], "exchanged once")
            with mock.patch.dict(os.environ, {"MLGATE_TOKEN": "mlg_pat_x"}):
                self.assertEqual(self.post().status_code, 401)
                self.assertEqual(self.gateway.seen[-1][1], "Bearer mlg_pat_x")
        with mock.patch.dict(os.environ, {"MLGATE_ID_TOKEN": "evil"}):
            with self.assertRaises(MlgateError) as told:
                self.auth = MlgateAuth(Chain())
                self.post()
            self.assertIn("no rule fits", str(told.exception))
        with mock.patch.object(_jobs, "DEFAULT_FILE", token):
            self.assertEqual(_jobs.find().subject_token("x"), "header.payload.signature")
        self.assertIsNone(_jobs.find())

    def test_github_is_asked_for_a_token_for_this_gateway(self) -> None:
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                asked.append((self.path, self.headers["Authorization"]))
                text = b'{"value": "jwt"}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"http://127.0.0.1:{server.server_port}/?api-version=2",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "secret",
        }
        with mock.patch.dict(os.environ, settings):
            self.assertEqual(self.post().status_code, 200)
        server.shutdown()
        server.server_close()
        self.assertEqual(self.gateway.exchanged, ["jwt"])
        audience = self.gateway.url.replace(":", "%3A").replace("/", "%2F")
        self.assertEqual(asked, [(f"/?api-version=2&audience={audience}", "Bearer secret")])

    def test_a_file_that_others_can_read_is_refused(self) -> None:
        self.sign_in()
        self.assertEqual(self.post().status_code, 200)
        for mode in (0o640, 0o604):
            os.chmod(self.file, mode)
            with self.assertRaises(MlgateError) as told:
                MlgateAuth(Chain())._tokens.token(self.gateway.url)
            self.assertIn("chmod 600", str(told.exception))

    def test_nothing_prints_a_token(self) -> None:
        self.sign_in()
        file = _credentials.File(self.file)
        self.assertNotIn("mlg_", repr(file) + repr(file.read().entry(self.gateway.url)))
        with open(self.file, "a") as target:
            target.write("mlg_rt_secret")
        with self.assertRaises(MlgateError) as told:
            file.read()
        self.assertNotIn("mlg_", str(told.exception))

    def test_threads_and_processes_refresh_once_each_time(self) -> None:
        self.gateway.lifetime = 2
        self.sign_in(age=100)
        spawn = multiprocessing.get_context("spawn")
        arguments = (self.gateway.url, 5.0)
        with spawn.Pool(2) as pool:
            failed = pool.starmap(work, [arguments] * 2)
        self.assertEqual(failed, [0] * 2)
        self.assertGreaterEqual(len(self.gateway.refreshed), 2)
        self.assertEqual(set(self.gateway.refreshed.values()), {1}, "none was used twice")

    @unittest.skipUnless(hasattr(os, "fork"), "needs fork")
    def test_a_fork_in_the_middle_of_a_refresh_is_no_deadlock(self) -> None:
        self.sign_in(age=100)
        tokens = chain()
        held = _credentials._attempt(self.file + ".lock")
        self.assertTrue(held.__enter__())
        with tokens._lock:
            child = os.fork()
            if child == 0:
                # The thread's lock and the file's descriptor of the parent are not the child's.
                fine = not _credentials._open and tokens._lock.acquire(blocking=False)
                os._exit(0 if fine else 1)
        held.__exit__(None, None, None)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertIsNotNone(tokens.token(f"{self.gateway.url}/x"))


def work(url: str, seconds: float) -> int:
    """Asks from two threads for some seconds, and counts what did not work."""
    mlflow.set_tracking_uri(url)
    end, failed = time.monotonic() + seconds, []

    def ask() -> None:
        while time.monotonic() < end:
            token = chain().token(f"{url}/api/x")
            if token is None:
                failed.append(token)
            time.sleep(0.01)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(failed)


if __name__ == "__main__":
    unittest.main()
