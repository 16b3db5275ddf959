"""A store of toys, a command over it, and the service that gives the same answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.command import Command
from tests.service.api.client import Api
from tests.toys import directories


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that no test changes."""
    return directories.write_store(tmp_path_factory.mktemp("jobs"))


@pytest.fixture
def command(toys: Path, tmp_path: Path) -> Command:
    return Command(toys, tmp_path)


@pytest.fixture(scope="session")
def api(toys: Path) -> Iterator[Api]:
    api = Api(toys, max_rows=10_000, max_body_bytes=2**24)
    yield api
    api.close()
