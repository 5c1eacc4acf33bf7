"""What a page of `experiments/search` costs MLflow, asked through the gateway and asked directly.

Usage: lists_cost.py VERSION[:EXPERIMENTS]...     VERSION: 3.18, 3.5 or 2.22, as integration-tests/setup.sh installs them.

10,000 experiments or as many as said, of which a member may see 20, or a third: with names that start alike, that end alike, and that have nothing in common. CPU is user and system
time of MLflow's one worker out of /proc, of pages of 25 as MLflow's screens ask for them, in alternation with the same page asked of MLflow itself, after the first page has
filled the gateway's index.
"""

import json
import sys
import urllib.request

from common.gate import CHEAP, Gate
from common.machine import Bench, cpu, interleaved, ratios, spread
from common.mlflow import Mlflow

ROUNDS, PAGES = 9, 30
LETTERS = "abcdefghijklmnopqrstuvwxyz"
QUESTION = json.dumps({"max_results": 25, "order_by": ["last_update_time DESC"], "view_type": "ACTIVE_ONLY"}).encode()


def every(experiments):
    """So that each so many are twenty of all, or one of ten."""
    return max(10, experiments // 20)


def name_of(number, experiments):
    """Some start alike, some end alike, some have nothing in common."""
    start = "few/" if number % every(experiments) == 7 else "third/" if number % 3 == 1 else ""
    end = "-few" if number % every(experiments) == 5 else "-third" if number % 3 == 2 else ""
    return f"{start}{LETTERS[number % 23]}{number % 89:02d}-{number:05d}{LETTERS[number % 19]}{end}"


def patterns(experiments):
    """By who has them."""
    plain = [number for number in range(experiments) if number % 3 == 0 and number % every(experiments) not in (5, 7)]
    return {
        "few-start": ["few/*"],
        "few-end": ["*-few"],
        "few-unlike": [name_of(number, experiments) for number in plain[:: max(1, len(plain) // 20)][:20]],
        "third-start": ["third/*"],
        "third-end": ["*-third"],
        "third-unlike": [f"{letter}*" for letter in LETTERS[:11]],
    }


def ask(port, token=None):
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search", QUESTION, headers)
    with urllib.request.urlopen(request) as answer:
        return len(json.load(answer).get("experiments", []))


def measure(version, experiments):
    whose = patterns(experiments)
    roles = "".join(
        f'[[role]]\nname = "{name}"\nusers = ["local:{name}"]\ngrants = [{{ permission = "READ", experiments = {json.dumps(those)} }}]\n'
        for name, those in whose.items()
    )
    with Bench() as bench:
        mlflow = Mlflow(bench, version, [name_of(number, experiments) for number in range(experiments)])
        gate = Gate(bench, mlflow.port, roles=roles, users=list(whose), hashed=CHEAP, core=None)

        def cost(*where):
            before = cpu(mlflow.process)
            for _ in range(PAGES):
                ask(*where)
            return (1000 * (cpu(mlflow.process) - before) / PAGES,)

        ask(mlflow.port)
        for name in whose:
            token = gate.token(name)
            before = cpu(mlflow.process)
            rows = ask(gate.port, token)
            first = 1000 * (cpu(mlflow.process) - before)
            found = interleaved({"direct": lambda: cost(mlflow.port), "through": lambda: cost(gate.port, token)}, ROUNDS)
            direct, through = (spread((cost for cost, in found[way]), "{:.1f}") for way in ("direct", "through"))
            print(
                f"MLflow {version}, {experiments} experiments, {name:12}: {rows} rows, {direct} ms direct, {through} ms through the gateway, "
                f"ratio {spread(ratios(found['through'], found['direct'], 0))}; the first page {first:.0f} ms",
                flush=True,
            )


if __name__ == "__main__":
    for asked in sys.argv[1:] or ["3.18:10", "3.18:1000", "3.18:10000", "2.22:10000"]:
        name, _, count = asked.partition(":")
        measure(name, int(count or 10_000))
