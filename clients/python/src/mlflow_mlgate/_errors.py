"""What a person is told."""

from __future__ import annotations

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import UNAUTHENTICATED


class MlgateError(MlflowException):  # type: ignore[misc]
    """No token can be had; the message says why and what to do, and never holds a secret."""

    def __init__(self, message: str) -> None:
        super().__init__(message, error_code=UNAUTHENTICATED)
