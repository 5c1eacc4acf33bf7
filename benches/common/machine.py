"""Processes on this machine: started on a core, waited for, their CPU and memory read out of /proc, and loaded by wrk."""

import http.client
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PARTS = ROOT / "target/parts"
MLGATE = pathlib.Path(os.environ.get("MLGATE", ROOT / "target/release/mlgate")).resolve()

# One core for what is measured, the other for the load and for what stands behind.
MEASURED, OTHERS = 0, 1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Bench:
    """A folder and the processes of one benchmark, which end with it."""

    def __enter__(self):
        if (os.cpu_count() or 1) < 2:
            sys.exit("this needs two cores: one for what is measured, one for load and upstream")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mlgate-bench-"))
        self.processes = []
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, core, command, name, **options):
        """On one core; `None`: on all. What it says goes to NAME.log."""
        pinned = ["taskset", "-c", str(core)] if core is not None else []
        log = open(self.folder / f"{name}.log", "w")
        process = subprocess.Popen([*pinned, *map(str, command)], stdout=log, stderr=log, **options)
        self.processes.append(process)
        return process

    def log(self, name):
        return (self.folder / f"{name}.log").read_text()

    def nginx(self, core, name, servers):
        file = self.folder / f"{name}.conf"
        file.write_text(
            f"daemon off; worker_processes 1; pid {self.folder}/{name}.pid; error_log {self.folder}/{name}.log;\n"
            f"events {{ worker_connections 1024; }}\nhttp {{ access_log off; keepalive_requests 1000000; "
            f"client_body_temp_path {self.folder}/{name}.body; {servers} }}\n"
        )
        return self.start(core, ["nginx", "-p", self.folder, "-c", file], name)


def until_answers(port, path="/", status=200, seconds=60, headers={}):
    """How long it took, in seconds."""
    begin = time.monotonic()
    while time.monotonic() < begin + seconds:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path, headers=headers)
            if connection.getresponse().status == status:
                return time.monotonic() - begin
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.01)
    sys.exit(f"nothing answers {status} at http://127.0.0.1:{port}{path}")


def family(pid):
    """A process and all below it."""
    found = [pid]
    for parent in found:
        try:
            for task in pathlib.Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            pass
    return found


def cpu(process):
    """User and system seconds of a process and of those below it that run."""
    ticks = 0
    for pid in family(process.pid):
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(process, what="VmRSS"):
    """MiB of a process and of those below it; `VmHWM` is the peak of each."""
    total = 0
    for pid in family(process.pid):
        try:
            found = re.search(rf"{what}:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
        except OSError:
            continue
        total += int(found.group(1)) if found else 0
    return total / 1024


def wrk(process, url, seconds, headers={}, connections=64, script=None):
    """Requests a second, and CPU seconds of a process for 10,000 of them."""
    flags = [flag for name, value in headers.items() for flag in ("-H", f"{name}: {value}")]
    if script:
        flags += ["-s", str(script)]
    before = cpu(process)
    ran = subprocess.run(
        ["taskset", "-c", str(OTHERS), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *flags, url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if "Non-2xx" in ran or "Socket errors" in ran:
        sys.exit(f"not all answers of {url} were good:\n{ran}")
    requests = int(re.search(r"(\d+) requests in", ran).group(1))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", ran).group(1))
    return rate, (cpu(process) - before) / requests * 10_000


def interleaved(cases, rounds):
    """Runs each case once a round, every other round backwards. `cases`: name to a function that gives a tuple of figures."""
    found = {name: [] for name in cases}
    for number in range(rounds):
        for name in cases if number % 2 == 0 else reversed(cases):
            found[name].append(cases[name]())
    return found


def spread(values, form="{:.2f}"):
    values = list(values)
    return f"{form.format(statistics.median(values))} [{form.format(min(values))} to {form.format(max(values))}]"


def ratios(ours, theirs, column):
    """Of the same rounds."""
    return [one[column] / other[column] for one, other in zip(ours, theirs) if other[column]]
