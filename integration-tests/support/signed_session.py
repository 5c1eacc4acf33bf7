"""Makes one of everything as somebody who says to be mallory, and prints the ids as JSON."""

import gzip
import json
import os
import sys

import requests

import mlflow
from mlflow import MlflowClient

prefix, newest = sys.argv[1], sys.argv[2] == "newest"
url, token = os.environ["MLFLOW_TRACKING_URI"], os.environ["MLFLOW_TRACKING_TOKEN"]
client = MlflowClient()
made = {}

experiment = mlflow.set_experiment(f"{prefix}/signed")
made["experiment"] = experiment.experiment_id
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 1.5)
made["run"] = run.info.run_id
client.create_registered_model(f"{prefix}-model", tags={"mlflow.user": "mallory", "kept": "yes"})
made["model"] = f"{prefix}-model"
version = client.create_model_version(made["model"], f"{run.info.artifact_uri}/model", run.info.run_id)
made["version"] = version.version
with mlflow.start_span("traced") as span:
    span.set_inputs({"question": "who?"})
if newest:
    mlflow.flush_trace_async_logging()
    made["trace"] = span.trace_id
    made["logged_model"] = client.create_logged_model(experiment.experiment_id, tags={"mlflow.user": "mallory"}).model_id

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for number, packed in enumerate([False, True]):
        export = ExportTraceServiceRequest()
        resource = export.resource_spans.add()
        resource.resource.attributes.add(key="mlflow.user").value.string_value = "mallory"
        span = resource.scope_spans.add().spans.add()
        span.trace_id, span.span_id, span.name = os.urandom(16), os.urandom(8), "otlp"
        span.start_time_unix_nano, span.end_time_unix_nano = 1700000000000000000, 1700000001000000000
        span.attributes.add(key="mlflow.traceTag.mlflow.user").value.string_value = "mallory"
        span.attributes.add(key="mlflow.traceTag.kept").value.string_value = "yes"
        body = export.SerializeToString()
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/x-protobuf",
            "x-mlflow-experiment-id": experiment.experiment_id,
        }
        if packed:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body)
        requests.post(f"{url}/v1/traces", data=body, headers=headers, timeout=60).raise_for_status()
        made[f"spans {number}"] = "tr-" + span.trace_id.hex()
else:
    made["trace"] = span.request_id
print(json.dumps(made))
