"""MLflow's client, signed in to an mlgate gateway: ``MLFLOW_TRACKING_AUTH=mlgate``."""

from ._provider import MlgateAuth, MlgateRequestAuthProvider

__all__ = ["MlgateAuth", "MlgateRequestAuthProvider"]
__version__ = "0.1.0"
