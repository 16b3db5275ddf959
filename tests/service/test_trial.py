"""Models from strangers are tried where they can do no harm."""

from pathlib import Path

import pytest

from service.loading import load_model
from service.sessions import ModelRefused
from service.settings import Settings
from tests.toys import directories
from tests.toys.broken import BROKEN
from tests.toys.greedy import write_greedy
from tests.toys.hanging import write_hanging

SETTINGS = Settings(provider="cpu", trial_mb=1024, hang_seconds=5.0, workers=1)


def test_a_sound_model_passes(tmp_path: Path) -> None:
    assert load_model(directories.write_writer(tmp_path), SETTINGS, "cpu").tasks


def test_one_that_asks_for_all_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"decode.onnx|trial: expected a model that loads within 1024 MB"):
        load_model(write_greedy(tmp_path, gigabytes=8), SETTINGS, "cpu")


def test_one_that_hangs_is_refused(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"hang_seconds": 1.0})
    with pytest.raises(ModelRefused, match=r"within 1 s|takes longer"):
        load_model(write_hanging(tmp_path, everywhere=True), settings, "cpu")


def test_what_is_wrong_is_said_as_without_a_trial(tmp_path: Path) -> None:
    breakage = BROKEN["truncated graph"]
    directory = breakage.write(tmp_path)
    breakage.spoil(directory)
    with pytest.raises(ModelRefused) as tried:
        load_model(directory, SETTINGS, "cpu")
    with pytest.raises(ModelRefused) as plain:
        load_model(directory, SETTINGS.model_copy(update={"trial_mb": 0}), "cpu")
    assert str(tried.value) == str(plain.value)
