"""1 GiB up and down through mlgate, oauth2-proxy and nginx: time, CPU of the proxy, and its peak memory, both sides streaming.

Usage: bodies.py [ROUNDS] [MIB]

Upstream is a small sink and source of our own; artifacts of run routes, signed in, with policy and audit.
"""

import http.client
import pathlib
import subprocess
import sys
import time

from common.gate import Gate
from common.machine import OTHERS, Bench, cpu, free_port, interleaved, memory, ratios, spread, until_answers
from common.rivals import Nginx, Oauth2Proxy

PATH = "/api/2.0/mlflow-artifacts/artifacts/1/" + "a" * 32 + "/artifacts/model.bin"
PIECE = b"\x5a" * (256 * 1024)


def down(server, headers, size):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    connection.request("GET", PATH, headers=headers)
    answer = connection.getresponse()
    into, got = memoryview(bytearray(1 << 20)), 0
    while read := answer.readinto(into):
        got += read
    connection.close()
    if answer.status != 200 or got != size:
        sys.exit(f"{server}: {answer.status}, {got} bytes of {size}")


def up(server, headers, size):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    pieces = (PIECE for _ in range(size // len(PIECE)))
    connection.request("PUT", PATH, pieces, headers | {"Content-Length": str(size), "Content-Type": "application/octet-stream"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    if answer.status != 200:
        sys.exit(f"{server}: {answer.status}")


def measured(way, server, headers, size):
    before, begin = cpu(server.process), time.monotonic()
    way(server, headers, size)
    return time.monotonic() - begin, cpu(server.process) - before


def main(rounds=5, mib=1024):
    size = mib << 20
    with Bench() as bench:
        upstream = free_port()
        bench.start(OTHERS, [sys.executable, pathlib.Path(__file__).parent / "common/sink.py", upstream, size], "sink")
        until_answers(upstream, "/version")
        nginx = Nginx(bench, upstream, more="client_max_body_size 0; proxy_buffering off; proxy_request_buffering off;")
        gate = Gate(bench, upstream)
        rival = Oauth2Proxy(bench, upstream)
        headers = {
            nginx: {},
            gate: {"Cookie": gate.sign_in(), "Origin": gate.origin},
            rival: {"Cookie": rival.sign_in()},
        }
        idle = {name: memory(server.process) for name, server in (("nginx", nginx), ("mlgate", gate), ("oauth2-proxy", rival))}
        for name, way in (("down", down), ("up", up)):
            case = lambda server, way=way: lambda: measured(way, server, headers[server], size)
            found = interleaved({"nginx": case(nginx), "mlgate": case(gate), "oauth2-proxy": case(rival)}, rounds)
            print(f"{mib} MiB {name}")
            for server, results in found.items():
                times, costs = zip(*results)
                print(f"  {server:<13} {spread(mib / time for time in times)} MiB/s   {spread(costs)} CPU s")
            for server in ("mlgate", "oauth2-proxy"):
                print(f"  {server} to nginx: time {spread(ratios(found[server], found['nginx'], 0))}, CPU {spread(ratios(found[server], found['nginx'], 1))}", flush=True)
        peaks = {"nginx": nginx, "mlgate": gate, "oauth2-proxy": rival}
        print("memory, idle before and peak after: " + ", ".join(
            f"{name} {idle[name]:.0f} and {memory(server.process, 'VmHWM'):.0f} MiB" for name, server in peaks.items()
        ))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
