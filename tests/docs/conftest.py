"""A real server with the models of this repository."""

from tests.e2e.conftest import shipped_service

__all__ = ["shipped_service"]
