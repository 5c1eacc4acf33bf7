"""The questions that ingresses ask: what a yes costs mlgate (session, policy and audit on) at each of its endpoints, and oauth2-proxy at its own.

Usage: checks.py [ROUNDS] [SECONDS]

Asked directly by wrk, and by h2load for gRPC, as an ingress on the same machine would ask. oauth2-proxy only says who is signed in.
"""

import re
import subprocess
import sys

from common.gate import Gate
from common.machine import OTHERS, Bench, cpu, free_port, interleaved, ratios, spread, wrk
from common.rivals import FastUpstream, Oauth2Proxy

TARGET = "/api/2.0/mlflow/experiments/get?experiment_id=1"
CALL = "/envoy.service.auth.v3.Authorization/Check"


def field(number, value):
    """One of protobuf's length-delimited fields."""
    length, size = b"", len(value)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def question(host, cookie):
    """A `CheckRequest` in gRPC's frame."""
    headers = {"cookie": cookie, "accept": "*/*", "user-agent": "mlflow-python-client/3.18.0"}
    pairs = b"".join(field(3, field(1, name.encode()) + field(2, value.encode())) for name, value in headers.items())
    http = field(2, b"GET") + pairs + field(4, TARGET.encode()) + field(5, host.encode())
    message = field(1, field(4, field(2, http)))
    return b"\0" + len(message).to_bytes(4, "big") + message


def by_grpc(gate, port, file, seconds):
    before = cpu(gate.process)
    ran = subprocess.run(
        ["taskset", "-c", str(OTHERS), "h2load", f"-D{seconds}", "-c4", "-m16", "-d", file, "-H", "content-type: application/grpc", "-H", "te: trailers",
         f"http://127.0.0.1:{port}{CALL}"],
        capture_output=True, text=True, check=True,
    ).stdout
    done = int(re.search(r"(\d+) 2xx", ran).group(1))
    rate = float(re.search(r"finished in [^,]*, ([\d.]+) req/s", ran).group(1))
    if not done:
        sys.exit(f"no answer by gRPC:\n{ran}")
    return rate, (cpu(gate.process) - before) / done * 10_000


def main(rounds=7, seconds=3):
    with Bench() as bench:
        upstream = FastUpstream(bench, OTHERS)
        grpc = free_port()
        sections = '[check]\nendpoints = ["auth-request", "forward-auth", "ext-authz"]\n[network]\ntrusted_proxies = ["127.0.0.1/32"]\n'
        gate = Gate(bench, upstream.port, sections=sections, listen=f'ext_authz_address = "127.0.0.1:{grpc}"\n')
        rival = Oauth2Proxy(bench, upstream.port)
        cookie, theirs = gate.sign_in(), rival.sign_in()
        host = gate.origin.removeprefix("http://")
        asked = bench.folder / "question.bin"
        asked.write_bytes(question(host, cookie))
        def case(server, path, headers, cookie=cookie):
            return lambda: wrk(server.process, f"http://127.0.0.1:{server.port}{path}", seconds, {"Cookie": cookie} | headers)
        cases = {
            "auth-request": case(gate, "/auth/check/auth-request", {"X-Original-URL": gate.origin + TARGET, "X-Original-Method": "GET"}),
            "forward-auth": case(gate, "/auth/check/forward-auth", {
                "X-Forwarded-Method": "GET", "X-Forwarded-Proto": "http", "X-Forwarded-Host": host, "X-Forwarded-Uri": TARGET}),
            "ext-authz": case(gate, "/auth/check/ext-authz" + TARGET, {}),
            "ext-authz gRPC": lambda: by_grpc(gate, grpc, asked, seconds),
            "oauth2-proxy": case(rival, "/oauth2/auth", {}, theirs),
        }
        for warm in cases.values():
            warm()
        found = interleaved(cases, rounds)
        for name, results in found.items():
            rates, costs = zip(*results)
            line = f"{name:<15} {spread(rates, '{:.0f}')} answers/s   {spread(costs, '{:.3f}')} CPU s per 10,000"
            if name != "oauth2-proxy":
                line += f"   CPU to oauth2-proxy {spread(ratios(results, found['oauth2-proxy'], 1))}"
            print(line, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
