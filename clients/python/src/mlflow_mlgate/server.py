"""For MLflow's own server behind mlgate: who is asking, by the gateway's signed word.

MLflow's basic-auth app takes ``authorization_function = mlflow_mlgate.server:authorize`` in its configuration. A request
that carries ``X-Mlgate-Assertion`` is that of the person in it, if the gateway's signature holds; one without is
authenticated by MLflow as ever, which is how the gateway itself administers users and roles. Wants two variables in the
server's environment: ``MLGATE_URL``, the gateway's public address, and ``MLGATE_UPSTREAM``, the upstream's name there.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
import time
import urllib.request

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from flask import Response, request
from werkzeug.datastructures import Authorization

_log = logging.getLogger(__name__)

HEADER = "X-Mlgate-Assertion"
CLOCK_SKEW = 60
# A key that is not known is asked for at most this often. Seconds.
PAUSE = 30
LONGEST = 16 * 1024


class Refused(Exception):
    """Why an assertion does not hold; never told to whoever sent it."""


class Keys:
    """The gateway's public keys, asked for when one is missing."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._asked = float("-inf")
        self._lock = threading.Lock()

    def get(self, key_id: str) -> Ed25519PublicKey:
        with self._lock:
            if key_id not in self._keys and time.monotonic() - self._asked >= PAUSE:
                self._asked = time.monotonic()
                self._keys = self._fetch()
            key = self._keys.get(key_id)
        if key is None:
            raise Refused("the key is not one of the gateway's")
        return key

    def _fetch(self) -> dict[str, Ed25519PublicKey]:
        try:
            with urllib.request.urlopen(self._url, timeout=5) as answer:
                listed = json.loads(answer.read(1 << 20))["keys"]
            return {
                key["kid"]: Ed25519PublicKey.from_public_bytes(_decoded(key["x"]))
                for key in listed
                if key.get("kty") == "OKP" and key.get("crv") == "Ed25519"
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._asked = float("-inf")
            raise Refused(f"the gateway's keys cannot be had: {error}") from error


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def claims(assertion: str, keys: Keys, issuer: str, audience: str, now: float) -> dict:
    """What an assertion says (RFC 7519, EdDSA), if it holds.

    Raises:
        Refused: If it does not.
    """
    try:
        head, body, signature = assertion.encode("ascii").split(b".")
        header = json.loads(_decoded(head.decode()))
        if header.get("alg") != "EdDSA" or not isinstance(header.get("kid"), str):
            raise Refused("it is not signed as the gateway signs")
        keys.get(header["kid"]).verify(_decoded(signature.decode()), head + b"." + body)
        said = json.loads(_decoded(body.decode()))
    except (ValueError, AttributeError, InvalidSignature) as error:
        raise Refused("it cannot be read, or its signature does not hold") from error
    if said.get("iss") != issuer or said.get("aud") != audience:
        raise Refused("it is of another gateway, or for another server")
    if not said["iat"] - CLOCK_SKEW <= now < said["exp"] + CLOCK_SKEW:
        raise Refused("it is too old, or not yet good")
    return said


_keys: dict[str, Keys] = {}


def authorize() -> Authorization | Response:
    """MLflow's ``authorization_function``."""
    shown = request.headers.getlist(HEADER)
    if not shown:
        from mlflow.server.auth import authenticate_request_basic_auth

        return authenticate_request_basic_auth()
    gateway = os.environ.get("MLGATE_URL", "").rstrip("/")
    upstream = os.environ.get("MLGATE_UPSTREAM", "")
    try:
        if not gateway or not upstream:
            raise Refused("MLGATE_URL and MLGATE_UPSTREAM are not set")
        if len(shown) != 1 or len(shown[0]) > LONGEST:
            raise Refused("there are several, or it is too long")
        keys = _keys.setdefault(gateway, Keys(f"{gateway}/auth/oauth2/jwks"))
        said = claims(shown[0], keys, gateway, upstream, time.time())
        # Never a name of MLflow's own, such as its administrator's.
        name = f"{said['provider']}:{said['preferred_username']}"
    except (Refused, KeyError, TypeError) as error:
        _log.warning("An assertion was refused: %s", error)
        return Response("You are not authenticated.", 401)
    return Authorization("basic", {"username": name, "password": ""})
