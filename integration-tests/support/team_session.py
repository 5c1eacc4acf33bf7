"""One member of one team, by MLflow's own client: makes things of its team, then looks at everything it can find."""

import json
import sys

import mlflow
from mlflow import MlflowClient

team, step = sys.argv[1], sys.argv[2]
client = MlflowClient()
newer = int(mlflow.__version__.split(".")[0]) >= 3

if step == "make":
    for number in range(7):
        experiment = mlflow.set_experiment(f"{team}/{number}").experiment_id
        with mlflow.start_run(run_name=f"{team}-run-{number}") as run:
            mlflow.log_metric("m", number)
            mlflow.log_text(f"secret of {team}", "notes.txt")
        client.create_registered_model(f"{team}-model-{number}")
        client.create_model_version(f"{team}-model-{number}", f"runs:/{run.info.run_id}/model", run.info.run_id)
        if newer:
            with mlflow.start_span(name=f"{team}-span"):
                pass
            mlflow.genai.register_prompt(f"{team}-prompt-{number}", f"secret of {team}")
    if newer:
        mlflow.flush_trace_async_logging()
    print(json.dumps({"run": run.info.run_id, "experiment": experiment, "trace": mlflow.get_last_active_trace_id() if newer else None}))
    sys.exit()


def pages(search, **arguments):
    token, found, sizes = None, [], []
    while True:
        page = search(page_token=token, **arguments)
        found.extend(page)
        sizes.append(len(page))
        token = page.token
        if not token:
            return found, sizes


def refused(call):
    try:
        call()
    except mlflow.exceptions.MlflowException as error:
        return error.error_code
    return None


seen = {}
experiments, seen["page sizes"] = pages(client.search_experiments, max_results=3)
seen["experiments"] = sorted(e.name for e in experiments)
ids = [e.experiment_id for e in experiments]
other = json.loads(sys.argv[3])
seen["runs"] = sorted(r.info.run_name for r in pages(client.search_runs, experiment_ids=ids + [other["experiment"]], max_results=4)[0])
seen["models"] = sorted(m.name for m in pages(client.search_registered_models, max_results=3)[0] if not m.name.startswith("prompt"))
seen["versions"] = sorted(v.name for v in pages(client.search_model_versions, max_results=3)[0])
if newer:
    seen["prompts"] = sorted(p.name for p in mlflow.genai.search_prompts(max_results=100))
    traces = mlflow.search_traces(locations=ids + [other["experiment"]], return_type="list", include_spans=False)
    seen["traces"] = len(traces)
    seen["their trace"] = refused(lambda: client.get_trace(other["trace"]))
seen["their run"] = refused(lambda: client.get_run(other["run"]))
seen["no such run"] = refused(lambda: client.get_run("f" * 32))
seen["their experiment"] = refused(lambda: client.get_experiment(other["experiment"]))
seen["their model"] = refused(lambda: client.get_registered_model(f"{other['team']}-model-1"))
seen["no such model"] = refused(lambda: client.get_registered_model(f"{other['team']}-none"))
seen["write to theirs"] = refused(lambda: client.log_metric(other["run"], "m", 1))
seen["their files"] = refused(lambda: client.list_artifacts(other["run"]))
print(json.dumps(seen))
