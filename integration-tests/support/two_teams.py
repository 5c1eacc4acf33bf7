"""Fills the first of two empty servers' folders with team a's things, and the second with the same and team b's.

two_teams.py FOLDER_OF_ONE FOLDER_OF_BOTH: past the servers, before they start, for a hundred runs by the API take a minute.
"""

import shutil
import sys
from pathlib import Path

import mlflow
from mlflow.entities import ExperimentTag, Metric, Param, RunStatus, RunTag
from mlflow.entities.model_registry import RegisteredModelTag
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking

NEWER = int(mlflow.__version__.split(".")[0]) >= 3
BEGAN = 1_700_000_000_000


def fill(folder, team):
    database = f"sqlite:///{folder / 'mlflow.db'}"
    tracking, registry = Tracking(database, "mlflow-artifacts:/"), Registry(database)
    experiments = []
    for number in range(30):
        half = "even" if number % 2 == 0 else "odd"
        experiments.append(tracking.create_experiment(f"{team}/{number:02}", tags=[ExperimentTag("half", half)]))
    # More than the one page of a table of runs, and a few that can be compared.
    for number in range(105):
        run = tracking.create_run(experiments[0], team, BEGAN + number, [RunTag("mlflow.source.name", "train.py")], f"{team}-run-{number:03}")
        run_id = run.info.run_id
        metrics = [Metric("loss", number + 1 / (step + 1), BEGAN + step, step) for step in range(3)]
        tracking.log_batch(run_id, metrics, [Param("rate", str(number))], [])
        tracking.update_run_info(run_id, RunStatus.FINISHED, BEGAN + 60_000, None)
        if number in (3, 104):
            notes = folder / "artifacts" / experiments[0] / run_id / "artifacts"
            notes.mkdir(parents=True)
            (notes / "notes.txt").write_text(f"What team {team} noted.")
    for number in range(30):
        half = "even" if number % 2 == 0 else "odd"
        name = f"{team}-model-{number:02}"
        registry.create_registered_model(name, [RegisteredModelTag("half", half)], f"Made by team {team}.")
        if number == 0:
            registry.create_model_version(name, f"mlflow-artifacts:/{experiments[0]}/{run_id}/artifacts/model", run_id, [], None, "The first.")
    if NEWER:
        mlflow.set_tracking_uri(database)
        mlflow.set_registry_uri(database)
        for number in range(3):
            mlflow.genai.register_prompt(f"{team}-prompt-{number}", f"Say {{{{what}}}} for team {team}.")
        mlflow.set_experiment(experiment_id=experiments[1])
        for number in range(3):
            with mlflow.start_span(name=f"{team}-span-{number}") as span:
                span.set_inputs({"question": f"of team {team}"})
        mlflow.flush_trace_async_logging()


one, both = map(Path, sys.argv[1:])
# The experiment that is there from the start is neither team's.
Tracking(f"sqlite:///{one / 'mlflow.db'}", "mlflow-artifacts:/").delete_experiment("0")
fill(one, "a")
shutil.copytree(one, both, dirs_exist_ok=True)
fill(both, "b")
