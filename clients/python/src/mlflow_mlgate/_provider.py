"""What MLflow asks for each request: ``mlflow.request_auth_provider``, named ``mlgate``."""

from __future__ import annotations

import functools
from typing import Any, Optional

import requests
from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider
from requests.auth import AuthBase

from ._chain import Chain, chain


class MlgateAuth(AuthBase):
    """Puts a fresh token on a request, and sends it once more with another where the gateway knows the first no longer."""

    def __init__(self, tokens: Optional[Chain] = None) -> None:
        self._tokens = tokens or chain()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        url = request.url or ""
        token = self._tokens.token(url)
        if token is None:
            # The gateway's own answer says how to sign in, in MLflow's shape. What needs no token works without.
            return request
        request.headers["Authorization"] = f"Bearer {token}"
        request.register_hook(
            "response", functools.partial(self._again, token=token, start=_position(request.body))
        )
        return request

    def _again(
        self, response: requests.Response, *, token: str, start: Optional[int], **options: Any
    ) -> requests.Response:
        sent = response.request
        if response.status_code != 401 or sent.headers.get("Authorization") != f"Bearer {token}":
            return response
        if start is None:
            return response
        another = self._tokens.token(sent.url or "", rejected=token)
        if another is None or another == token:
            return response
        # The connection is free again only once its answer is read.
        _ = response.content
        response.close()
        request = sent.copy()
        if hasattr(request.body, "seek"):
            request.body.seek(start)  # type: ignore[union-attr]
        request.headers["Authorization"] = f"Bearer {another}"
        second: requests.Response = response.connection.send(request, **options)  # type: ignore[attr-defined]
        second.history.append(response)
        second.request = request
        return second


def _position(body: Any) -> Optional[int]:
    """Where a body begins that can be sent twice; ``None`` for one that cannot."""
    if body is None or isinstance(body, (bytes, str)):
        return 0
    try:
        body.seek(body.tell())
        return int(body.tell())
    except (AttributeError, OSError):
        return None


class MlgateRequestAuthProvider(RequestAuthProvider):  # type: ignore[misc]
    """Chosen by ``MLFLOW_TRACKING_AUTH=mlgate``."""

    def get_name(self) -> str:
        return "mlgate"

    def get_auth(self) -> AuthBase:
        return MlgateAuth()
