"""The gateway's authorization server: refreshing (RFC 6749, 6), exchanging (RFC 8693), and finding it (RFC 8414)."""

from __future__ import annotations

import os
import time
from typing import Any, Dict, Optional, Union
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from ._credentials import Entry
from ._errors import MlgateError

CLIENT_ID = "mlgate-cli"
TIMEOUT = (5, 15)
# A lifetime in seconds where the gateway tells none.
_UNTOLD = 300
# Between tries while nobody answers, in seconds: a gateway that restarts fails nobody.
_PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
_JWT = "urn:ietf:params:oauth:token-type:jwt"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class Refused(Exception):
    """The gateway's own no (RFC 6749, 5.2)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description or error)
        self.error = error


class Away(Exception):
    """No answer, or one that says to come again."""


class _NoNetrc(AuthBase):
    """Having one keeps ``requests`` from putting a ``.netrc``'s password into its place."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


NO_NETRC = _NoNetrc()


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("true", "1")


def _tls() -> Dict[str, Any]:
    """As MLflow's own client does it."""
    verify: Union[bool, str] = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or True
    if _is_set("MLFLOW_TRACKING_INSECURE_TLS"):
        verify = False
    return {"verify": verify, "cert": os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH") or None}


def _same_place(one: str, other: str) -> bool:
    first, second = urlsplit(one), urlsplit(other)
    return (first.scheme, first.netloc.lower()) == (second.scheme, second.netloc.lower())


def _ask_once(endpoint: str, fields: Dict[str, str]) -> Dict[str, Any]:
    try:
        answer = requests.post(
            endpoint,
            data=fields,
            headers={"Accept": "application/json"},
            auth=NO_NETRC,
            allow_redirects=False,
            timeout=TIMEOUT,
            **_tls(),
        )
    except requests.exceptions.SSLError:
        raise MlgateError(
            f"the certificate of {urlsplit(endpoint).netloc} is not trusted here; name its CA's file in "
            "MLFLOW_TRACKING_SERVER_CERT_PATH, and see that this machine's clock is right"
        ) from None
    except requests.RequestException as error:
        raise Away(f"{urlsplit(endpoint).netloc} cannot be reached: {type(error).__name__}") from None
    try:
        body = answer.json()
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    if answer.status_code == 200 and isinstance(body.get("access_token"), str):
        return body
    if answer.status_code == 429 or answer.status_code >= 500:
        raise Away(f"the gateway answers {answer.status_code}")
    if isinstance(body.get("error"), str):
        raise Refused(body["error"], str(body.get("error_description", ""))[:300])
    raise MlgateError(f"{urlsplit(endpoint).netloc} does not answer like mlgate: {answer.status_code}")


def _ask(endpoint: str, fields: Dict[str, str], patient: bool) -> Dict[str, Any]:
    for pause in _PAUSES if patient else ():
        try:
            return _ask_once(endpoint, fields)
        except Away:
            time.sleep(pause)
    return _ask_once(endpoint, fields)


def _entry(answer: Dict[str, Any], asked_at: float, before: Dict[str, Any]) -> Entry:
    lifetime = answer.get("expires_in")
    seconds = int(lifetime) if isinstance(lifetime, (int, float)) and lifetime > 0 else _UNTOLD
    fields = dict(before)
    fields["access_token"] = answer["access_token"]
    fields["issued_at"] = int(asked_at)
    fields["expires_at"] = int(asked_at) + seconds
    if isinstance(answer.get("refresh_token"), str):
        fields["refresh_token"] = answer["refresh_token"]
    return Entry(fields)


def refresh(gateway: str, entry: Entry) -> Optional[Entry]:
    """The successor of an entry; ``None`` where the sign-in has ended. The caller holds the file's lock."""
    endpoint = entry.token_endpoint
    if entry.refresh_token is None or not _same_place(gateway, endpoint):
        return entry if entry.is_alive(time.time()) else None
    asked_at = time.time()
    fields = {"grant_type": "refresh_token", "client_id": entry.client_id, "refresh_token": entry.refresh_token}
    try:
        # One that is good still need not wait for its successor.
        answer = _ask(endpoint, fields, patient=not entry.is_alive(asked_at))
    except Refused as refused:
        if refused.error == "invalid_grant":
            return None
        raise MlgateError(f"the token for {gateway} cannot be refreshed: {refused}") from None
    except Away as away:
        if entry.is_alive(time.time()):
            return entry
        raise MlgateError(f"the token for {gateway} cannot be refreshed: {away}") from None
    return _entry(answer, asked_at, entry.fields)


def exchange(gateway: str, subject_token: str) -> Entry:
    """A token of the gateway's for one of a job's platform."""
    asked_at = time.time()
    fields = {
        "grant_type": _EXCHANGE,
        "client_id": CLIENT_ID,
        "subject_token": subject_token,
        "subject_token_type": _JWT,
    }
    try:
        answer = _ask(f"{gateway}/auth/oauth2/token", fields, patient=True)
    except Away as away:
        raise MlgateError(f"this job's token cannot be exchanged: {away}") from None
    return _entry(answer, asked_at, {})
