"""API keys: who may ask, how often, and for how much of the machine's time.

    python -m service.keys new nightly >> keys.toml      # prints the key on the error stream, once

    [nightly]
    sha256 = "9f86d08…"
    requests_per_second = 20
    compute_seconds_per_minute = 30

A key is 256 random bits, so a plain hash of it cannot be turned back: no salt and no slow hash are needed. The file holds
hashes only, and is read again when it changes.
"""

import hashlib
import hmac
import logging
import secrets
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from service.errors import RateLimited, Unauthorized

log = logging.getLogger("amostra.keys")

PREFIX = "amostra-"
_LOOK_SECONDS = 2.0
_BURST_SECONDS = 2.0


class KeysError(ValueError):
    """A file of keys that cannot be used; the message names the entry, what was expected and what was found."""


class Key(BaseModel):
    """What is known of a key, and what it may take; None is without bound."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    compute_seconds_per_minute: Annotated[float, Field(gt=0)] | None = None


Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
_FILE = TypeAdapter(dict[Id, Key])


class _Bucket:
    """So much a second, at most `room` at once. What is taken may go below zero: then it has to fill first."""

    def __init__(self, rate: float, room: float) -> None:
        self._rate, self._room = rate, room
        self._level, self._at = room, time.monotonic()

    def seconds_until(self, amount: float) -> float:
        """How long until there is so much; 0 where there is."""
        self._fill()
        return max(0.0, (amount - self._level) / self._rate)

    def take(self, amount: float) -> None:
        """Take so much, there or not."""
        self._fill()
        self._level -= amount

    def _fill(self) -> None:
        now = time.monotonic()
        self._level, self._at = min(self._room, self._level + self._rate * (now - self._at)), now


class _Account:
    """A key with what it has left."""

    def __init__(self, key: Key) -> None:
        self.key = key
        per_second, per_minute = key.requests_per_second, key.compute_seconds_per_minute
        self.requests = _Bucket(per_second, max(1.0, per_second * _BURST_SECONDS)) if per_second else None
        self.compute = _Bucket(per_minute / 60, per_minute) if per_minute else None


class Keys:
    """The keys of a file."""

    def __init__(self, path: Path) -> None:
        """Raises KeysError."""
        self._path = path
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._mark = _mark(path)
        self._accounts = {name: _Account(key) for name, key in read_keys(path).items()}

    def admit(self, authorization: str) -> str:
        """Let a request in by its Authorization header. Returns the key's id.

        Raises Unauthorized, RateLimited.
        """
        with self._lock:
            self._look()
            scheme, _, given = authorization.partition(" ")
            name = self._find(given.strip()) if scheme.lower() == "bearer" else None
            if name is None:
                raise Unauthorized(
                    "authorization: expected Bearer and a key that this service knows: ask its operator for one",
                    field="authorization",
                )
            account = self._accounts[name]
            for bucket, amount, what in (
                (account.requests, 1.0, "requests a second"),
                (account.compute, 1e-9, "compute seconds a minute"),
            ):
                wait = bucket.seconds_until(amount) if bucket else 0.0
                if wait > 0:
                    raise RateLimited(
                        f"key {name} has used up its {what}: come back after the seconds that Retry-After gives",
                        retry_after=wait,
                    )
            if account.requests:
                account.requests.take(1.0)
            return name

    def allowance(self, name: str) -> float:
        """For how many seconds a key's work that nobody waits for has to wait; 0 where it need not.

        Raises Unauthorized where there is no such key any more.
        """
        with self._lock:
            self._look()
            account = self._accounts.get(name)
            if account is None:
                raise Unauthorized(f"there is no key {name} any more: its work is not done", field="authorization")
            return account.compute.seconds_until(1e-9) if account.compute else 0.0

    def charge(self, name: str, seconds: float) -> None:
        """A key's jobs had so much of a worker's time."""
        with self._lock:
            account = self._accounts.get(name)
            if account is not None and account.compute:
                account.compute.take(seconds)

    def _find(self, given: str) -> str | None:
        """The id of a key; every known one is compared, however early one fits."""
        digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()
        found = None
        for name, account in self._accounts.items():
            if hmac.compare_digest(account.key.sha256, digest):
                found = name
        return found

    def _look(self) -> None:
        """Read the file again where it has changed; one that is broken changes nothing."""
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        mark = _mark(self._path)
        if mark == self._mark:
            return
        self._mark = mark
        try:
            keys = read_keys(self._path)
        except KeysError as error:
            log.error("the keys stay as they were: %s", error)
            return
        known = self._accounts
        kept = {name: known[name] for name, key in keys.items() if name in known and known[name].key == key}
        self._accounts = {name: kept.get(name) or _Account(key) for name, key in keys.items()}
        log.info("%d keys were read from %s", len(keys), self._path)


def read_keys(path: Path) -> dict[str, Key]:
    """Keys by their id. Raises KeysError."""
    try:
        return _FILE.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise KeysError(f"{path}: expected a file of keys, found {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KeysError(f"{path}: expected TOML, found {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise KeysError(f"{path}: {where}: {first['msg']}") from error


def new_key() -> tuple[str, str]:
    """A key, and its hash."""
    key = PREFIX + secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def main(arguments: list[str]) -> int:
    """`new ID`: print the lines for the file, and the key for whoever will use it."""
    try:
        if len(arguments) != 2 or arguments[0] != "new":
            raise KeysError("expected: python -m service.keys new ID")
        key, digest = new_key()
        _FILE.validate_python({arguments[1]: {"sha256": digest}})
    except (KeysError, ValidationError) as error:
        message = error if isinstance(error, KeysError) else f"ID: expected a-z, 0-9, - and _, found {arguments[1]!r}"
        print(f"error: {message}", file=sys.stderr)
        return 2
    print(f'[{arguments[1]}]\nsha256 = "{digest}"\n')
    print(f"the key, which is kept nowhere: {key}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
