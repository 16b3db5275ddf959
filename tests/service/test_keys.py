"""Keys: who is let in, and how much each may take."""

import hashlib
import logging
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from service import keys as module
from service.errors import RateLimited, Unauthorized
from service.keys import Key, Keys, KeysError, main, new_key, read_keys


class Clock:
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def write(path: Path, **keys: dict) -> dict[str, str]:
    """A file of keys with these bounds. Returns the keys."""
    made, lines = {}, []
    for name, bounds in keys.items():
        made[name], digest = new_key()
        lines += [f"[{name}]", f'sha256 = "{digest}"', *(f"{k} = {v}" for k, v in bounds.items())]
    path.write_text("\n".join(lines))
    return made


def bearer(key: str) -> str:
    return f"Bearer {key}"


def test_a_known_key_is_let_in_and_named(tmp_path: Path) -> None:
    made = write(tmp_path / "keys.toml", alpha={}, beta={})
    keys = Keys(tmp_path / "keys.toml")
    assert keys.admit(bearer(made["alpha"])) == "alpha"
    assert keys.admit(f"bearer  {made['beta']} ") == "beta"


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic {key}", "{key}", "Bearer {hash}", "Bearer ü\udcff"]
)
def test_everything_else_is_not(tmp_path: Path, header: str) -> None:
    made = write(tmp_path / "keys.toml", alpha={})
    hashed = hashlib.sha256(made["alpha"].encode()).hexdigest()
    with pytest.raises(Unauthorized) as caught:
        Keys(tmp_path / "keys.toml").admit(header.format(key=made["alpha"], hash=hashed))
    assert caught.value.headers() == {"www-authenticate": "Bearer"}
    assert made["alpha"] not in str(caught.value)


def test_the_file_holds_no_key(tmp_path: Path) -> None:
    made = write(tmp_path / "keys.toml", alpha={})
    assert made["alpha"] not in (tmp_path / "keys.toml").read_text()
    assert len(made["alpha"]) > 43, "256 bits"


def test_requests_come_back_at_their_rate(tmp_path: Path, clock: Clock) -> None:
    made = write(tmp_path / "keys.toml", alpha={"requests_per_second": 5}, beta={})
    keys = Keys(tmp_path / "keys.toml")
    for _ in range(10):  # two seconds' worth at once
        keys.admit(bearer(made["alpha"]))
    with pytest.raises(RateLimited, match="requests a second") as caught:
        keys.admit(bearer(made["alpha"]))
    assert caught.value.retry_after == pytest.approx(0.2)
    for _ in range(30):
        keys.admit(bearer(made["beta"]))  # nobody else is held up
    clock.now += 0.21
    keys.admit(bearer(made["alpha"]))
    with pytest.raises(RateLimited):
        keys.admit(bearer(made["alpha"]))


def test_time_of_the_machine_is_paid_for_afterwards(tmp_path: Path, clock: Clock) -> None:
    made = write(tmp_path / "keys.toml", alpha={"compute_seconds_per_minute": 6})
    keys = Keys(tmp_path / "keys.toml")
    keys.admit(bearer(made["alpha"]))
    keys.charge("alpha", 5.0)
    keys.admit(bearer(made["alpha"]))
    keys.charge("alpha", 4.0)
    with pytest.raises(RateLimited, match="compute seconds a minute") as caught:
        keys.admit(bearer(made["alpha"]))
    assert caught.value.retry_after == pytest.approx(30.0)
    clock.now += 31
    keys.admit(bearer(made["alpha"]))
    keys.charge("stranger", 1.0)


def test_a_changed_file_counts_at_once_and_a_broken_one_changes_nothing(tmp_path: Path, clock: Clock, caplog) -> None:
    path = tmp_path / "keys.toml"
    old = write(path, alpha={"requests_per_second": 1})
    keys = Keys(path)
    text = path.read_text()
    for _ in range(2):
        keys.admit(bearer(old["alpha"]))
    extra, digest = new_key()
    path.write_text(f'{text}\n[beta]\nsha256 = "{digest}"')
    clock.now += 0.0
    with pytest.raises(Unauthorized):
        keys.admit(bearer(extra))
    clock.now += 2.1
    assert keys.admit(bearer(extra)) == "beta"
    path.write_text("[beta")
    os.utime(path, (time.time() + 5, time.time() + 5))
    clock.now += 2.1
    with caplog.at_level(logging.ERROR):
        assert keys.admit(bearer(extra)) == "beta"
    assert "stay as they were" in caplog.text
    path.write_text("")
    clock.now += 2.1
    with pytest.raises(Unauthorized):
        keys.admit(bearer(extra))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[alpha]", "alpha.sha256"),
        ('[alpha]\nsha256 = "abc"', "alpha.sha256"),
        ("[Alpha Beta]", "TOML"),
        (f'[alpha]\nsha256 = "{"0" * 64}"\nlimit = 3', "alpha.limit"),
        (f'[alpha]\nsha256 = "{"0" * 64}"\nrequests_per_second = 0', "alpha.requests_per_second"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "keys.toml").write_text(text)
    with pytest.raises(KeysError, match=says):
        read_keys(tmp_path / "keys.toml")
    with pytest.raises(KeysError, match="expected a file of keys"):
        read_keys(tmp_path / "none.toml")


def test_a_new_key_from_the_command_line_fits_its_lines(tmp_path: Path) -> None:
    made = subprocess.run([sys.executable, "-m", "service.keys", "new", "nightly"], capture_output=True, text=True)
    assert made.returncode == 0
    assert tomllib.loads(made.stdout)["nightly"].keys() == {"sha256"}
    (tmp_path / "keys.toml").write_text(made.stdout)
    key = made.stderr.split()[-1]
    assert Keys(tmp_path / "keys.toml").admit(bearer(key)) == "nightly"
    assert key not in made.stdout


@pytest.mark.parametrize("arguments", [[], ["new"], ["new", "a b"], ["old", "x"], ["new", "x", "y"]])
def test_mistakes_on_the_command_line(arguments: list[str], capsys) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_without_bounds_there_are_none() -> None:
    assert Key(sha256="0" * 64) == Key(sha256="0" * 64, requests_per_second=None, compute_seconds_per_minute=None)
