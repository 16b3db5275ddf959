"""A real server with the models of this repository, for the end-to-end tests that measure them."""

from collections.abc import Iterator

import pytest

from tests.e2e.server import ROOT, Server


@pytest.fixture(scope="session")
def shipped_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    server = Server(ROOT / "exported", tmp_path_factory.mktemp("shipped"))
    try:
        server.start()
        server.until("/readyz", 200)
        yield server.url
        server.terminate()
    finally:
        server.kill()
