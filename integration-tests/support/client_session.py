"""One long session of MLflow's own client. Prints what it saw as JSON, so that two sessions can be compared."""

import hashlib
import json
import os
import sys
import tempfile

import mlflow
from mlflow import MlflowClient

prefix, big = sys.argv[1], int(sys.argv[2])
client = MlflowClient()
seen = {}

experiment_id = mlflow.set_experiment(f"{prefix}/client").experiment_id
with mlflow.start_run(run_name="first") as run:
    mlflow.log_params({"a": 1, "b": "two"})
    mlflow.log_metric("loss", 0.5, step=1)
    mlflow.log_metrics({"loss": 0.25, "nan": float("nan"), "inf": float("inf")}, step=2)
    mlflow.set_tags({"kind": "test", "space in key": "käse"})
    with tempfile.TemporaryDirectory() as folder:
        small = os.path.join(folder, "small ü.bin")
        with open(small, "wb") as file:
            file.write(os.urandom(1024))
        mlflow.log_artifact(small, "files")
        large = os.path.join(folder, "large.bin")
        digest = hashlib.sha256()
        with open(large, "wb") as file:
            for _ in range(big):
                chunk = os.urandom(1 << 20)
                digest.update(chunk)
                file.write(chunk)
        mlflow.log_artifact(large, "files")
    client.log_batch(run.info.run_id, metrics=[mlflow.entities.Metric(f"m{n}", n, 0, 0) for n in range(50)])
with tempfile.TemporaryDirectory() as folder:
    path = client.download_artifacts(run.info.run_id, "files", folder)
    seen["files"] = sorted(os.listdir(path))
    back = hashlib.sha256()
    with open(os.path.join(path, "large.bin"), "rb") as file:
        while chunk := file.read(1 << 20):
            back.update(chunk)
    seen["same bytes"] = back.hexdigest() == digest.hexdigest()

found = client.get_run(run.info.run_id)
seen["params"] = found.data.params
seen["metrics"] = {key: str(value) for key, value in found.data.metrics.items()}
seen["tags"] = {key: value for key, value in found.data.tags.items() if not key.startswith("mlflow.")}
seen["history"] = [metric.value for metric in client.get_metric_history(run.info.run_id, "loss")]
seen["search"] = [r.info.run_name for r in client.search_runs([experiment_id], "metrics.loss < 1")]
seen["experiments"] = [e.name for e in client.search_experiments(filter_string=f"name LIKE '{prefix}/%'")]


class Doubles(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [value * 2 for value in model_input]


name = f"{prefix}-model"
arguments = {"python_model": Doubles(), "pip_requirements": []}
newer = int(mlflow.__version__.split(".")[0]) >= 3
with mlflow.start_run(run_name="second"):
    info = mlflow.pyfunc.log_model(**({"name": "model"} if newer else {"artifact_path": "model"}), **arguments)
seen["predict"] = mlflow.pyfunc.load_model(info.model_uri).predict([1, 2])
version = mlflow.register_model(info.model_uri, name)
client.set_registered_model_alias(name, "champion", version.version)
client.set_model_version_tag(name, version.version, "checked", "yes")
seen["alias"] = client.get_model_version_by_alias(name, "champion").version
seen["load by alias"] = mlflow.pyfunc.load_model(f"models:/{name}@champion").predict([3])
seen["versions"] = [v.version for v in client.search_model_versions(f"name='{name}'")]
seen["models"] = [m.name for m in client.search_registered_models(f"name='{name}'")]

if newer:
    with mlflow.start_span(name="outer") as span:
        span.set_inputs({"question": "why"})
        with mlflow.start_span(name="inner"):
            pass
    mlflow.flush_trace_async_logging()
    trace = mlflow.get_trace(span.trace_id)
    seen["spans"] = sorted(part.name for part in trace.data.spans)
    seen["traces"] = len(mlflow.search_traces(locations=[experiment_id], return_type="list"))
    client.set_trace_tag(span.trace_id, "checked", "yes")
    prompt = mlflow.genai.register_prompt(f"{prefix}-prompt", "Say {{ word }}")
    seen["prompt"] = mlflow.genai.load_prompt(f"prompts:/{prefix}-prompt/{prompt.version}").template
    seen["prompts"] = [p.name for p in mlflow.genai.search_prompts(f"name='{prefix}-prompt'")]

client.delete_tag(run.info.run_id, "kind")
client.rename_experiment(experiment_id, f"{prefix}/client renamed")
seen["renamed"] = client.get_experiment(experiment_id).name
seen["missing"] = client.get_experiment_by_name(f"{prefix}/none such") is None
try:
    client.get_run("0" * 32)
except mlflow.exceptions.MlflowException as error:
    seen["missing run"] = error.error_code
print(json.dumps(seen, sort_keys=True))
