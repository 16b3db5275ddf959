"""Build the images, start docker-compose.yml and check that it does what docs/deploy.md says; ten minutes at most.

    python -m deploy.container_test          # make container-test

Needs Python and nothing else where a Docker engine runs; elsewhere root on a system with apt, to start an engine here.
Where no registry can be reached, stand-ins take the place of the base image and of Prometheus, and Grafana is left out.
Everything is removed at the end, whatever happens. Ends with 1 where a check failed.
"""

import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from deploy.container_test import checks, images
from deploy.container_test.engine import engine
from deploy.container_test.project import Project, project

CHECKS: tuple[Callable[[Project], str], ...] = (
    checks.size,
    checks.contents,
    checks.secrets,
    checks.starts,
    checks.confined,
    checks.endpoints,
    checks.scraped,
    checks.promtool,
    checks.dashboards,
    checks.killed,
    checks.out_of_memory,
    checks.drains,
)


class Table:
    """The lines of the result, printed as they come about."""

    def __init__(self) -> None:
        self.failed = False

    def step(self, name: str, work: Callable[[], str]) -> bool:
        """Do something, and print how it went."""
        start = time.monotonic()
        try:
            outcome, detail = "ok", work()
        except Exception as error:  # whatever it is, the other checks go on
            outcome, detail, self.failed = "FAILED", f"{type(error).__name__}: {error}", True
        print(f"{name:16} {outcome:7} {time.monotonic() - start:6.1f} s  {detail}", flush=True)
        return outcome == "ok"


def main() -> int:
    """Run everything; 0 where all is well."""
    # So that what was started is stopped by an ordinary kill too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    start, table = time.monotonic(), Table()
    made: dict[str, str] = {}

    def build() -> str:
        base, stands_in = images.base()
        images.service(base)
        made["prometheus"], second = images.prometheus(base)
        return "stand-ins for the base image and Prometheus" if stands_in or second else "from the registry"

    with contextlib.ExitStack() as stack:
        if not table.step("engine", lambda: stack.enter_context(engine())):
            return 1
        stack.callback(images.remove)
        if not table.step("images", build):
            return 1
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = stack.enter_context(project(folder, images.SERVICE, made["prometheus"]))
        for check in CHECKS:
            table.step(check.__name__, lambda check=check: check(running))
        if images.grafana() is None:
            print("grafana          not run: its image cannot be had here")
        else:
            table.step("grafana", lambda: checks.grafana(running))
    print(f"{'FAILED' if table.failed else 'passed'} in {time.monotonic() - start:.0f} s")
    return int(table.failed)


if __name__ == "__main__":
    sys.exit(main())
