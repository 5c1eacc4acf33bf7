"""Where a token comes from: the environment, the job's platform, or the credentials file; in this order."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Dict, List, Optional
from urllib.parse import urlsplit

from . import _jobs, _oauth
from ._credentials import Entry, File
from ._errors import MlgateError

_logger = logging.getLogger("mlflow_mlgate")


def _origin(url: str) -> tuple[str, str, Optional[int]]:
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


def holds(gateway: str, url: str) -> bool:
    """Whether an address is that gateway's, so that it may see its token."""
    try:
        if _origin(gateway) != _origin(url):
            return False
    except ValueError:
        return False
    base = urlsplit(gateway).path.rstrip("/")
    path = urlsplit(url).path
    return path == base or path.startswith(base + "/")


def may_carry_secrets(gateway: str) -> bool:
    """https, or plain http to this machine."""
    scheme, host, _ = _origin(gateway)
    return scheme == "https" or (scheme == "http" and (host in ("localhost", "::1") or host.startswith("127.")))


def _configured() -> List[str]:
    """The servers that MLflow was told to talk to."""
    import mlflow

    named = [mlflow.get_tracking_uri(), mlflow.get_registry_uri()]
    return [uri.rstrip("/") for uri in named if isinstance(uri, str) and uri.startswith(("https://", "http://"))]


class Chain:
    """The tokens of this process. Threads share it; a forked child begins with what its parent knew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._exchanged: Dict[str, Entry] = {}
        self._from_file: Dict[str, Entry] = {}
        self._told: set[str] = set()

    def token(self, url: str, rejected: Optional[str] = None) -> Optional[str]:
        """A token for a request to ``url``, other than one that was rejected; ``None`` where there is none."""
        fixed = os.environ.get("MLGATE_TOKEN")
        if fixed:
            mine = any(holds(gateway, url) and may_carry_secrets(gateway) for gateway in _configured())
            return fixed.strip() if mine and fixed.strip() != rejected else None
        job = _jobs.find()
        if job is not None:
            gateway = next((gateway for gateway in _configured() if holds(gateway, url)), None)
            return self._exchange(gateway, job, rejected) if gateway else None
        return self._saved(url, rejected)

    def _exchange(self, gateway: str, job: _jobs.Job, rejected: Optional[str]) -> str:
        if not may_carry_secrets(gateway):
            raise MlgateError(f"{gateway} is not https: this job's token is not sent there")
        with self._lock:
            entry = self._exchanged.get(gateway)
            if entry is None or entry.access_token == rejected or not entry.is_fresh(time.time()):
                subject = job.subject_token(gateway)
                try:
                    entry = _oauth.exchange(gateway, subject)
                except _oauth.Refused as refused:
                    raise MlgateError(f"{gateway} did not take the token of {job.name}: {refused}") from None
                self._exchanged[gateway] = entry
            return entry.access_token

    def _saved(self, url: str, rejected: Optional[str]) -> Optional[str]:
        with self._lock:
            now = time.time()
            for gateway, entry in self._from_file.items():
                if holds(gateway, url) and entry.access_token != rejected and entry.is_fresh(now):
                    return entry.access_token
            file = File.of_this_user()
            if file is None:
                return None
            known = [gateway for gateway in file.read().gateways if holds(gateway, url)]
            # Of two gateways on one host the longer path is the nearer.
            gateway = max(known, key=len, default=None)
            if gateway is None:
                self._tell(next((one for one in _configured() if holds(one, url)), None))
                return None
            kept = file.fresh(gateway, rejected, _oauth.refresh)
            if kept is None:
                self._from_file.pop(gateway, None)
                self._tell(gateway)
                return None
            self._from_file[gateway] = kept
            return kept.access_token

    def _tell(self, gateway: Optional[str]) -> None:
        if gateway is not None and gateway not in self._told:
            self._told.add(gateway)
            _logger.warning("not signed in to %s; sign in with: mlgate login %s", gateway, gateway)

    def after_fork(self) -> None:
        """A thread that held the lock does not exist in the child."""
        self._lock = threading.Lock()


_chain = Chain()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_chain.after_fork)


def chain() -> Chain:
    return _chain
