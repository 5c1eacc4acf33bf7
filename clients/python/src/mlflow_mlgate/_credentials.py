"""The credentials file that ``mlgate login`` writes, and its lock; the format is in the gateway's ``docs/credentials.md``."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import stat
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

from ._errors import MlgateError

_VERSION = 1
_LONGEST = 1 << 20
# Whoever holds the lock longer than this hangs; seconds.
_PATIENCE = 90.0


class Entry:
    """One sign-in. Prints nothing of its tokens."""

    def __init__(self, fields: Dict[str, Any]) -> None:
        self.fields = fields
        self.access_token = str(fields["access_token"])
        self.issued_at = int(fields["issued_at"])
        self.expires_at = int(fields["expires_at"])
        self.token_endpoint = str(fields.get("token_endpoint", ""))
        self.client_id = str(fields.get("client_id", "mlgate-cli"))
        refresh = fields.get("refresh_token")
        self.refresh_token: Optional[str] = str(refresh) if refresh else None

    def __repr__(self) -> str:
        return "Entry(…)"

    def is_fresh(self, now: float) -> bool:
        """Whether the token is good for a while: not in its last quarter, nor in its last minute."""
        margin = min(max((self.expires_at - self.issued_at) // 4, 1), 60)
        return self.issued_at - 60 <= now < self.expires_at - margin

    def is_alive(self, now: float) -> bool:
        return now < self.expires_at


class Contents:
    """What is in the file; what a newer version put there is kept."""

    def __init__(self, whole: Dict[str, Any]) -> None:
        self.whole = whole
        self.gateways: Dict[str, Dict[str, Any]] = whole.setdefault("gateways", {})

    def entry(self, gateway: str) -> Optional[Entry]:
        fields = self.gateways.get(gateway)
        return Entry(fields) if fields is not None else None


class File:
    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)

    def __repr__(self) -> str:
        return f"File({self.path!r})"

    @classmethod
    def of_this_user(cls) -> Optional[File]:
        named = os.environ.get("MLGATE_CREDENTIALS")
        if named:
            return cls(named)
        if sys.platform == "win32":
            base = os.environ.get("APPDATA")
        else:
            base = os.environ.get("XDG_CONFIG_HOME", "")
            if not os.path.isabs(base):
                home = os.environ.get("HOME")
                base = os.path.join(home, ".config") if home else None
        return cls(os.path.join(base, "mlgate", "credentials.json")) if base else None

    def read(self) -> Contents:
        try:
            with open(self.path, "rb") as source:
                self._refuse_readable_by_others(source.fileno())
                text = source.read(_LONGEST)
        except FileNotFoundError:
            return Contents({"version": _VERSION})
        except OSError as error:
            raise MlgateError(f"{self.path} cannot be read: {error.strerror}") from None
        try:
            whole = json.loads(text)
            version = whole["version"]
            contents = Contents(whole)
            for gateway in contents.gateways:
                contents.entry(gateway)
        except (ValueError, KeyError, TypeError, AttributeError):
            # The cause would quote a token.
            raise MlgateError(f"{self.path} is damaged; remove it and sign in again") from None
        if version > _VERSION:
            raise MlgateError(f"{self.path} was written by a newer mlgate; upgrade mlflow-mlgate")
        return contents

    def _refuse_readable_by_others(self, descriptor: int) -> None:
        if sys.platform == "win32":
            return
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if mode & 0o077:
            raise MlgateError(
                f"{self.path} can be read or written by others on this machine (mode {mode:o}); "
                f"sign out and in again after: chmod 600 {self.path}"
            )

    def fresh(
        self, gateway: str, rejected: Optional[str], refresh: Callable[[str, Entry], Optional[Entry]]
    ) -> Optional[Entry]:
        """A good entry, refreshed by whoever holds the lock; ``None`` where there is no sign-in any more."""

        def good(entry: Optional[Entry]) -> bool:
            return entry is not None and entry.access_token != rejected and entry.is_fresh(time.time())

        entry = self.read().entry(gateway)
        if entry is None or good(entry):
            return entry
        deadline = time.monotonic() + _PATIENCE
        while True:
            with _attempt(self.path + ".lock") as held:
                contents = self.read()
                entry = contents.entry(gateway)
                if entry is None or good(entry):
                    return entry
                if held:
                    successor = refresh(gateway, entry)
                    if successor is None:
                        del contents.gateways[gateway]
                    elif successor is not entry:
                        contents.gateways[gateway] = successor.fields
                    if successor is not entry:
                        self._write(contents)
                    return successor
            if time.monotonic() > deadline:
                raise MlgateError(f"another process has held {self.path}.lock for more than {_PATIENCE:.0f} s")
            time.sleep(random.uniform(0.01, 0.04))

    def _write(self, contents: Contents) -> None:
        folder = os.path.dirname(self.path)
        part = os.path.join(folder, f".credentials-{secrets.token_hex(16)}")
        try:
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as target:
                json.dump(contents.whole, target, indent=2)
                target.write("\n")
                target.flush()
                os.fsync(target.fileno())
            os.replace(part, self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(part)
            raise MlgateError(f"{self.path} cannot be written: {error.strerror}") from None


# Open lock files of this process: a child must not keep its parent's lock alive.
_open: List[int] = []


@contextlib.contextmanager
def _attempt(path: str) -> Iterator[bool]:
    """Takes the lock where nobody has it, for as long as the block lasts."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise MlgateError(f"{path} cannot be opened: {error.strerror}") from None
    _open.append(descriptor)
    held = False
    try:
        held = _lock(descriptor, path)
        yield held
    finally:
        if descriptor in _open:
            _open.remove(descriptor)
            if held:
                # Closing would not do where a forked child has the same file open.
                _unlock(descriptor)
            os.close(descriptor)


def _after_fork() -> None:
    while _open:
        os.close(_open.pop())


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, path: str) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int, path: str) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise MlgateError(f"{path} cannot be locked: {error.strerror}") from None
        return True

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    os.register_at_fork(after_in_child=_after_fork)
