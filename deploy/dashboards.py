"""The queries of Grafana's dashboards, without Grafana."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARDS = Path(__file__).parent / "grafana/dashboards"
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass(frozen=True)
class Query:
    """One query of a panel, as it stands in the file, with the datasource that it names."""

    dashboard: str
    panel: str
    expr: str
    datasource: str

    def filled(self, window: str = "1m") -> str:
        """The query with its variables replaced: intervals by a window, others by what matches everything.

        Raises KeyError for one that Grafana would not know either.
        """
        known = {"__rate_interval": window, "__interval": window, "__range": window, "instance": ".*"}
        return _VARIABLE.sub(lambda found: known[found[1]], self.expr)


def queries(folder: Path = DASHBOARDS) -> Iterator[Query]:
    """All queries of all dashboards, those of variables too."""
    for path in sorted(folder.glob("*.json")):
        dashboard = json.loads(path.read_text("utf-8"))
        for panel in _panels(dashboard["panels"]):
            for target in panel.get("targets", ()):
                yield Query(dashboard["title"], panel["title"], target["expr"], target["datasource"]["uid"])
        for variable in dashboard["templating"]["list"]:
            found = re.fullmatch(r"label_values\((.+), \w+\)", variable["definition"])
            if found:
                yield Query(dashboard["title"], f"${variable['name']}", found[1], variable["datasource"]["uid"])


def _panels(panels: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Panels, and those inside of folded rows."""
    for panel in panels:
        yield panel
        yield from _panels(panel.get("panels", []))
