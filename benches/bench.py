"""`make bench`: all benchmarks one after another, or those that are named. Usage: bench.py [NAME…]"""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent

BENCHES = {
    "proxied": ["python3", HERE / "proxied.py"],
    "bodies": ["python3", HERE / "bodies.py"],
    "checks": ["python3", HERE / "checks.py"],
    "sessions": ["python3", HERE / "sessions.py"],
    "lists": ["python3", HERE / "lists_cost.py"],
    "rivals": ["python3", HERE / "rivals.py"],
    "decision": ["cargo", "bench", "--locked", "--quiet", "--bench", "decision"],
}


def main(names):
    unknown = set(names) - set(BENCHES)
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    failed = []
    for name in names or BENCHES:
        print(f"== {name}", flush=True)
        if subprocess.run(BENCHES[name], cwd=HERE.parent).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main(sys.argv[1:])
