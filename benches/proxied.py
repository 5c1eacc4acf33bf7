"""Signed-in GETs through mlgate (session, policy and audit on) and through nginx as a plain proxy, before the same fast
upstream, interleaved in one run. Prints throughput and CPU seconds per 10,000 requests as ratios with their spread.

One core for the proxy, the other for load and upstream. Usage: side_by_side.py [ROUNDS] [SECONDS]
"""

import http.client
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
SECONDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MLGATE = os.path.join(ROOT, "target/release/mlgate")
PATH = "/api/2.0/mlflow/experiments/get?experiment_id=1"
PASSWORD = "violet anchor riding 92 tram"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(core, *command):
    return subprocess.Popen(["taskset", "-c", str(core), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def until_answers(port, path):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    sys.exit(f"nothing answers on port {port}")


def nginx(folder, name, text):
    file = os.path.join(folder, f"{name}.conf")
    with open(file, "w") as out:
        out.write(f"daemon off; worker_processes 1; pid {folder}/{name}.pid; error_log {folder}/{name}.log;\n")
        out.write("events { worker_connections 1024; }\nhttp { access_log off; keepalive_requests 1000000; " + text + " }\n")
    return ["nginx", "-p", folder, "-c", file]


def cpu(process):
    """User and system seconds of a process and of its children that run."""
    total = 0
    for pid in [process.pid, *children(process.pid)]:
        with open(f"/proc/{pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def sign_in(port):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/auth/login/local", headers={"Accept": "text/html"})
    form = connection.getresponse()
    cookie = form.getheader("Set-Cookie").split(";")[0]
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', form.read().decode()).group(1)
    body = urllib.parse.urlencode({"username": "ann", "password": PASSWORD, "rd": "/", "csrf_token": token})
    connection.request(
        "POST",
        "/auth/login/local",
        body,
        {"Content-Type": "application/x-www-form-urlencoded", "Cookie": cookie, "Origin": f"http://127.0.0.1:{port}"},
    )
    answer = connection.getresponse()
    cookies = [value.split(";")[0] for name, value in answer.getheaders() if name.lower() == "set-cookie"]
    return next(cookie for cookie in cookies if cookie.startswith("mlgate=") and len(cookie) > len("mlgate="))


def load(process, port, cookie):
    before = cpu(process)
    ran = subprocess.run(
        ["taskset", "-c", "1", "wrk", "-t1", "-c64", f"-d{SECONDS}s", "--latency", "-H", f"Cookie: {cookie}", f"http://127.0.0.1:{port}{PATH}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if "Non-2xx" in ran:
        sys.exit(f"not all answers were good:\n{ran}")
    requests = int(re.search(r"(\d+) requests in", ran).group(1))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", ran).group(1))
    p99 = re.search(r"^\s+99%\s+(\S+)", ran, re.MULTILINE).group(1)
    return rate, (cpu(process) - before) / requests * 10_000, p99


def main():
    if (os.cpu_count() or 1) < 2:
        sys.exit("this needs two cores: one for the proxy, one for load and upstream")
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        upstream, plain, gate, admin = (free_port() for _ in range(4))
        answer = '{"experiment":{"experiment_id":"1","name":"bench","artifact_location":"' + "x" * 930 + '"}}'
        processes.append(
            start(1, *nginx(folder, "upstream", f"server {{ listen 127.0.0.1:{upstream}; default_type application/json; "
                            f"location = /version {{ return 200 '3.18.0'; }} location / {{ return 200 '{answer}'; }} }}"))
        )
        proxy = start(0, *nginx(folder, "plain", f"upstream u {{ server 127.0.0.1:{upstream}; keepalive 128; }} server {{ listen 127.0.0.1:{plain}; "
                      "location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ''; } }"))
        processes.append(proxy)
        hashed = subprocess.run([MLGATE, "hash-password"], input=PASSWORD, capture_output=True, text=True, check=True).stdout.strip()
        with open(f"{folder}/users.toml", "w") as users:
            users.write(f'[[user]]\nname = "ann"\npassword_hash = "{hashed}"\ngroups = ["team"]\n')
        with open(f"{folder}/mlgate.toml", "w") as config:
            config.write(
                f'public_url = "http://127.0.0.1:{gate}"\n[listen]\naddress = "127.0.0.1:{gate}"\nadmin_address = "127.0.0.1:{admin}"\n'
                f'[[upstream]]\nname = "bench"\nurl = "http://127.0.0.1:{upstream}"\n[session]\nstore = "memory"\n'
                '[[provider]]\nid = "local"\nkind = "local"\nusers_file = "users.toml"\n[telemetry]\nlog = "warn"\n'
                '[[role]]\nname = "team"\ngroups = ["local:team"]\ngrants = [{ permission = "EDIT", experiments = ["bench*"] }]\n'
                f'[audit]\nfile = "{folder}/audit/mlgate.jsonl"\nreads = true\n'
            )
        gateway = start(0, MLGATE, "serve", "--config", f"{folder}/mlgate.toml")
        processes.append(gateway)
        try:
            until_answers(plain, "/version")
            until_answers(gate, "/auth/readyz")
            cookie = sign_in(gate)
            runs = {"nginx": [], "mlgate": []}
            for round_number in range(ROUNDS):
                order = [("nginx", proxy, plain), ("mlgate", gateway, gate)]
                for name, process, port in order if round_number % 2 == 0 else reversed(order):
                    runs[name].append(load(process, port, cookie))
            # The head tells the last event's number; most of them may be in packed files.
            with open(f"{folder}/audit/mlgate.jsonl.head") as head:
                events = int(head.read().split()[0])
            rss = re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{gateway.pid}/status").read()).group(1)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
    for name, results in runs.items():
        rates, costs, tails = zip(*results)
        print(f"{name:<7} {statistics.median(rates):>9.0f} req/s [{min(rates):.0f} to {max(rates):.0f}]"
              f"   {statistics.median(costs):.3f} CPU s per 10,000 [{min(costs):.3f} to {max(costs):.3f}]   p99 {', '.join(tails)}")
    rates = [ours[0] / theirs[0] for ours, theirs in zip(runs["mlgate"], runs["nginx"])]
    costs = [ours[1] / theirs[1] for ours, theirs in zip(runs["mlgate"], runs["nginx"])]
    print(f"mlgate to nginx: throughput {statistics.median(rates):.2f} [{min(rates):.2f} to {max(rates):.2f}], "
          f"CPU {statistics.median(costs):.2f} [{min(costs):.2f} to {max(costs):.2f}]; {events} events in the trail; peak memory {int(rss) / 1024:.0f} MiB")


main()
