"""How soon mlgate serves, what it takes idle, and what each of 100,000 sessions takes, in memory.

Usage: sessions.py [SESSIONS] [STARTS]
"""

import http.client
import sys

from common.gate import CHEAP, Gate
from common.machine import OTHERS, Bench, cpu, memory, spread
from common.rivals import FastUpstream

USERS = 1_000


def main(sessions=100_000, starts=9):
    with Bench() as bench:
        upstream = FastUpstream(bench, OTHERS)
        gates = [Gate(bench, upstream.port) for _ in range(starts)]
        print(f"from the start until ready: {spread((gate.started_in * 1000 for gate in gates), '{:.0f}')} ms, CPU "
              f"{spread((cpu(gate.process) * 1000 for gate in gates), '{:.0f}')} ms; memory idle {spread((memory(gate.process) for gate in gates), '{:.1f}')} MiB")
        users = [f"user{number}" for number in range(USERS)]
        gate = Gate(bench, upstream.port, users=users, hashed=CHEAP, sections='[limits]\nlogin_attempts = "1000000/1s"\n')
        connection = http.client.HTTPConnection("127.0.0.1", gate.port)
        for user in users:
            gate.sign_in(user, connection)
        before = memory(gate.process)
        for number in range(sessions):
            gate.sign_in(users[number % USERS], connection)
        after = memory(gate.process)
        print(f"{sessions} sessions of {USERS} people: {before:.0f} MiB before, {after:.0f} MiB after, {(after - before) * 1024 / sessions:.2f} KiB each; "
              f"{cpu(gate.process) / (sessions + USERS) * 1000:.2f} ms of CPU for each sign-in", flush=True)
        # The first and the last of them still hold.
        cookie = gate.sign_in(users[0], connection)
        connection.request("GET", "/api/2.0/mlflow/experiments/get?experiment_id=1", headers={"Cookie": cookie})
        if connection.getresponse().status != 200:
            sys.exit("a session does not hold")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
