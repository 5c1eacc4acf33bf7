"""A training job: WORKERS processes forked from one that has MLflow, each logging metrics for SECONDS. Prints what failed, as JSON."""

import json
import multiprocessing
import random
import sys
import time

import mlflow
from mlflow import MlflowClient

workers, seconds = int(sys.argv[1]), float(sys.argv[2])


def work(run_id, number, end, queue):
    client, done, failed = MlflowClient(), 0, []
    while time.time() < end:
        try:
            client.log_metric(run_id, f"loss-{number}", random.random(), step=done)
            done += 1
        except Exception as error:
            failed.append(f"{type(error).__name__}: {error}"[:500])
            if len(failed) > 3:
                break
        time.sleep(random.uniform(0.2, 1.5) * workers / 16)
    queue.put((done, failed))


def main():
    mlflow.set_experiment("terminal/job")
    with mlflow.start_run() as run:
        print(run.info.run_id, flush=True)
        fork = multiprocessing.get_context("fork")
        queue, end = fork.Queue(), time.time() + seconds
        processes = [fork.Process(target=work, args=(run.info.run_id, n, end, queue)) for n in range(workers)]
        for process in processes:
            process.start()
        results = [queue.get() for _ in processes]
        for process in processes:
            process.join()
    print(json.dumps({"done": sum(done for done, _ in results), "failed": [text for _, texts in results for text in texts]}))


main()
