"""Signed-in requests through mlgate (session, policy and audit on), through oauth2-proxy, and through nginx as a plain proxy.

Usage: proxied.py [ROUNDS] [SECONDS]

All before the same fast upstream, interleaved in one run; one core for the proxy, the other for load and upstream. A GET of `experiments/get`, and a
POST of `runs/log-metric`, whose run mlgate has to know.
"""

import sys

from common.gate import Gate
from common.machine import OTHERS, Bench, interleaved, memory, ratios, spread, wrk
from common.rivals import FastUpstream, Nginx, Oauth2Proxy

GET = "/api/2.0/mlflow/experiments/get?experiment_id=1"
POST = "/api/2.0/mlflow/runs/log-metric"
BODY = '{"run_id":"' + "a" * 32 + '","key":"loss","value":0.25,"timestamp":1700000000000,"step":7}'


def main(rounds=9, seconds=3):
    with Bench() as bench:
        upstream = FastUpstream(bench, OTHERS)
        nginx = Nginx(bench, upstream.port)
        gate = Gate(bench, upstream.port)
        rival = Oauth2Proxy(bench, upstream.port)
        cookies = {gate: gate.sign_in(), rival: rival.sign_in(), nginx: "a=b"}
        script = bench.folder / "post.lua"
        script.write_text(f"wrk.method = 'POST'\nwrk.body = '{BODY}'\nwrk.headers['Content-Type'] = 'application/json'\n")
        for name, path, lua in [("GET experiments/get", GET, None), ("POST runs/log-metric", POST, script)]:
            def case(server):
                headers = {"Cookie": cookies[server]} | ({"Origin": gate.origin} if server is gate else {})
                return lambda: wrk(server.process, f"http://127.0.0.1:{server.port}{path}", seconds, headers, script=lua)
            cases = {"nginx": case(nginx), "mlgate": case(gate), "oauth2-proxy": case(rival)}
            # The first seconds fill caches.
            for warm in cases.values():
                warm()
            report(name, interleaved(cases, rounds))
        print(f"peak memory: mlgate {memory(gate.process, 'VmHWM'):.0f} MiB, oauth2-proxy {memory(rival.process, 'VmHWM'):.0f} MiB; {gate.events()} events in the trail")


def report(what, found):
    print(what)
    for name, results in found.items():
        rates, costs = zip(*results)
        print(f"  {name:<13} {spread(rates, '{:.0f}')} req/s   {spread(costs, '{:.3f}')} CPU s per 10,000")
    for name in ("mlgate", "oauth2-proxy"):
        rate, cost = (ratios(found[name], found["nginx"], column) for column in (0, 1))
        print(f"  {name} to nginx: throughput {spread(rate)}, CPU {spread(cost)}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
