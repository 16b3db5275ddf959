"""Settings come from the environment, and a misspelt one is not silently ignored."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.engine.share import Share
from service.settings import PREFIX, Settings, UnknownSetting, load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


def test_the_environment_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMOSTRA_MODELS", "/models")
    monkeypatch.setenv("AMOSTRA_QUEUE_SECONDS", "1.5")
    monkeypatch.setenv("amostra_default_score", "my-density")
    settings = load_settings()
    assert (settings.models, settings.queue_seconds) == (Path("/models"), 1.5)
    assert settings.default_score == "my-density"


def test_an_unknown_one_is_refused_by_name_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMOSTRA_MODEL", "/models")
    with pytest.raises(UnknownSetting, match=r"AMOSTRA_MODEL is not a setting; known are .*AMOSTRA_MODELS"):
        load_settings()


@pytest.mark.parametrize("name", ["AMOSTRA_DATA", "AMOSTRA_RUNS"])
def test_those_of_the_training_side_are_let_be(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "/somewhere")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKERS", "0"),
        ("WORKERS", "two"),
        ("QUEUE_SECONDS", "0"),
        ("POLL_SECONDS", "-1"),
        ("PROVIDER", "tpu"),
        ("MAX_BODY_BYTES", "0"),
        ("TEXT_SLOTS", "0"),
        ("REQUEST_TIMEOUT_SECONDS", "nan"),
        ("MEMORY_MB", "-1"),
        ("RESULT_CACHE_MB", "lots"),
    ],
)
def test_values_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(ValidationError, match=name.lower()):
        load_settings()


def test_they_cannot_be_changed_later() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().workers = 3  # type: ignore[misc]


def test_models_have_settings_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMOSTRA_PER_MODEL", '{"mnist-gan": {"weight": 2, "queue_seconds": 5}, "mine": {}}')
    shares = load_settings().shares
    assert shares == {"mnist-gan": Share(2.0, 5.0, None), "mine": Share()}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ('{"mine": {"wieght": 2}}', "wieght"),
        ('{"mine": {"weight": 0}}', "weight"),
        ('{"mine": {"queue_requests": 0}}', "queue_requests"),
        ('{"mine": {"queue_seconds": -1}}', "queue_seconds"),
        ('{"mine": 2}', "mine"),
    ],
)
def test_what_a_model_has_no_setting_for_is_refused(monkeypatch: pytest.MonkeyPatch, value: str, says: str) -> None:
    monkeypatch.setenv("AMOSTRA_PER_MODEL", value)
    with pytest.raises(ValidationError, match=says):
        load_settings()
