"""What many tests share: a store of toy models, and the models loaded from it."""

from pathlib import Path

import pytest

from service.loading import load_model
from service.model import LoadedModel
from service.settings import Settings
from tests.toys import directories


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of its own with all toys in it."""
    return directories.write_store(tmp_path / "store")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedModel]:
    """All toys, loaded, by name. They have no state that a test could change."""
    root = directories.write_store(tmp_path_factory.mktemp("toys"))
    loaded = [load_model(directory, Settings(provider="cpu"), "cpu") for directory in sorted(root.glob("*/*"))]
    return {model.id: model for model in loaded}
