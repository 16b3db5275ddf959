"""One application for the tests that do not change it, and a maker of others."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.service.api.client import Api
from tests.toys import directories


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Shared: leave its gate open and its store alone."""
    api = Api(directories.write_store(tmp_path_factory.mktemp("api")))
    yield api
    api.close()


@pytest.fixture
def make_api(store: Path) -> Iterator[Callable[..., Api]]:
    """An application with settings, a store and a gate of its own."""
    made: list[Api] = []

    def make(**settings: object) -> Api:
        made.append(Api(store, **settings))
        return made[-1]

    yield make
    for api in made:
        api.close()
