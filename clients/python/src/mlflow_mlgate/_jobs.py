"""Tokens that a platform gives to its jobs, to be exchanged at the gateway (RFC 8693)."""

from __future__ import annotations

import os
from typing import Callable, Optional

import requests

from ._errors import MlgateError
from ._oauth import NO_NETRC, TIMEOUT

DEFAULT_FILE = "/var/run/secrets/mlgate/token"


class Job:
    """A job's identity on its platform."""

    def __init__(self, name: str, subject_token: Callable[[str], str]) -> None:
        self.name = name
        self.subject_token = subject_token


def find() -> Optional[Job]:
    """The platform that this process runs on, where it gives tokens."""
    file = os.environ.get("MLGATE_TOKEN_FILE") or DEFAULT_FILE
    if os.environ.get("MLGATE_TOKEN_FILE") or os.path.exists(file):
        # Read anew each time: Kubernetes replaces it long before it ends.
        return Job("this workload", lambda _gateway: _read(file))
    if os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL") and os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        return Job("this GitHub job", _github)
    gitlab = os.environ.get("MLGATE_ID_TOKEN")
    if gitlab:
        return Job("this GitLab job", lambda _gateway: gitlab.strip())
    return None


def _read(file: str) -> str:
    try:
        with open(file, encoding="ascii") as source:
            return source.read(65536).strip()
    except (OSError, ValueError) as error:
        raise MlgateError(f"the token file {file} cannot be read: {type(error).__name__}") from None


def _github(gateway: str) -> str:
    try:
        answer = requests.get(
            os.environ["ACTIONS_ID_TOKEN_REQUEST_URL"],
            params={"audience": gateway},
            headers={"Authorization": f"Bearer {os.environ['ACTIONS_ID_TOKEN_REQUEST_TOKEN']}"},
            auth=NO_NETRC,
            timeout=TIMEOUT,
        )
        value = answer.json()["value"]
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise MlgateError(f"GitHub gave this job no token: {type(error).__name__}") from None
    return str(value)
