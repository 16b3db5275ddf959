"""docker-compose.yml, running under a name, an image and ports of its own."""

import contextlib
import json
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.container_test.client import status
from deploy.container_test.shell import CommandFailed, run, until

NAME = "amostra-container-test"
_PASSWORD = "only-for-this-test"
# Neither the settings of this checkout's .env nor its amostra.env.
_NO_ENV = ("--env-file", os.devnull)
_OVERRIDE = """services:
  amostra: {{image: {service}, env_file: !reset []}}
  prometheus: {{image: {prometheus}}}
"""


@dataclass(frozen=True)
class Project:
    """The compose project: its files, and the ports on 127.0.0.1."""

    override: Path
    port: int
    prometheus_port: int
    grafana_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str, seconds: float = 300) -> str:
        """Run docker compose on it."""
        env = {
            "AMOSTRA_PORT": str(self.port),
            "PROMETHEUS_PORT": str(self.prometheus_port),
            "GRAFANA_PORT": str(self.grafana_port),
            "GRAFANA_ADMIN_PASSWORD": _PASSWORD,
        }
        files = ("-f", "docker-compose.yml", "-f", self.override)
        return run("docker", "compose", *_NO_ENV, "-p", NAME, *files, *arguments, env=env, seconds=seconds)

    def container(self) -> str:
        """The id of the service's container."""
        return self.compose("ps", "--all", "-q", "amostra").strip()

    def inspect(self) -> dict[str, Any]:
        """What the engine knows of the service's container."""
        return json.loads(run("docker", "inspect", self.container()))[0]

    def inside(self, *command: str) -> str:
        """Run a command in the service's container."""
        return run("docker", "exec", self.container(), *command, check=False)

    def until_ready(self, seconds: float = 120) -> None:
        """Wait until the service says that it is ready."""
        until(lambda: status(f"{self.url}/readyz") == 200, seconds, "/readyz")

    def query(self, expr: str) -> list[dict[str, Any]]:
        """What Prometheus answers. Raises OSError where it refuses the query."""
        found = self._prometheus(f"query?query={urllib.parse.quote(expr)}")
        return found["result"]

    def rules(self) -> list[dict[str, Any]]:
        """The alert rules that Prometheus has loaded."""
        return [rule for group in self._prometheus("rules")["groups"] for rule in group["rules"]]

    def grafana(self, path: str) -> Any:
        """What Grafana's API answers."""
        manager = urllib.request.HTTPPasswordMgrWithPriorAuth()
        address = f"http://127.0.0.1:{self.grafana_port}"
        manager.add_password(None, address, "admin", _PASSWORD, is_authenticated=True)
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager))
        with opener.open(f"{address}{path}", timeout=10) as answer:
            return json.load(answer)

    def _prometheus(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.prometheus_port}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]


@contextlib.contextmanager
def project(folder: Path, service: str, prometheus: str) -> Iterator[Project]:
    """The project, not started; whatever of it runs at the end is removed with its volumes."""
    override = folder / "images.yml"
    override.write_text(_OVERRIDE.format(service=service, prometheus=prometheus))
    made = Project(override, *(_free_port() for _ in range(3)))
    try:
        yield made
    finally:
        made.compose("down", "--volumes", "--timeout", "5")


def without_password() -> str:
    """What compose says of docker-compose.yml where nobody has set its secret; empty where it says nothing."""
    try:
        run(
            "docker",
            "compose",
            *_NO_ENV,
            "-f",
            "docker-compose.yml",
            "config",
            "-q",
            env={"GRAFANA_ADMIN_PASSWORD": ""},
        )
    except CommandFailed as error:
        return str(error)
    return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
