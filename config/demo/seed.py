"""Fills the demo's MLflow: experiments of two teams, runs with metrics and a file, a registered model, a prompt."""

import math
import random

import mlflow
from mlflow import MlflowClient

client = MlflowClient()
random.seed(7)

for team, name in [("fraud", "card-payments"), ("fraud", "account-takeover"), ("churn", "weekly"), ("churn", "onboarding")]:
    mlflow.set_experiment(f"{team}/{name}")
    for number in range(3):
        with mlflow.start_run(run_name=f"{name}-{number + 1}") as run:
            rate = 0.1 / (number + 1)
            mlflow.log_params({"learning_rate": rate, "depth": 4 + number})
            for step in range(30):
                loss = math.exp(-rate * step) + random.random() / 20
                mlflow.log_metrics({"loss": loss, "auc": 1 - loss / 3}, step=step)
            mlflow.log_text(f"Trained on {name}, try {number + 1}.\n", "notes.txt")

for team in ("fraud", "churn"):
    experiment = client.search_experiments(filter_string=f"name LIKE '{team}/%'")[0]
    run = client.search_runs([experiment.experiment_id])[0]
    client.create_registered_model(f"{team}-detector", description=f"What the {team} team serves.")
    version = client.create_model_version(f"{team}-detector", source=f"runs:/{run.info.run_id}/model", run_id=run.info.run_id)
    client.set_registered_model_alias(f"{team}-detector", "champion", version.version)
    mlflow.genai.register_prompt(f"{team}-summary", "Summarize this case in {{ sentences }} sentences: {{ text }}")
