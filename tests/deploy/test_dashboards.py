"""Dashboards show metrics that exist, from the datasource that is provisioned."""

import json
from pathlib import Path

import pytest
import yaml

from deploy.dashboards import DASHBOARDS, Query, queries
from tests.deploy.exposed import named, series

QUERIES = list(queries())
FILES = sorted(DASHBOARDS.glob("*.json"))
PROVISIONING = DASHBOARDS.parent / "provisioning"


@pytest.mark.parametrize("query", QUERIES, ids=[f"{q.dashboard}/{q.panel}" for q in QUERIES])
def test_a_panel_asks_for_metrics_that_exist(query: Query) -> None:
    names = named(query.expr)
    assert names <= series() | {"amostra"}, f"unknown: {names - series()}"
    assert names or query.expr.startswith("up{")
    assert "$" not in query.filled()
    assert query.expr.count("{") == query.expr.count("}")
    assert 'job="amostra"' in query.expr


def test_every_panel_has_a_query_and_the_provisioned_datasource() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources/prometheus.yml").read_text())["datasources"]
    assert {query.datasource for query in QUERIES} == {source["uid"]}
    assert len(QUERIES) > 40


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_dashboard_can_be_provisioned(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == path.stem
    assert "id" not in dashboard, "Grafana gives the id"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (panel["gridPos"]["x"] + dx, panel["gridPos"]["y"] + dy)
        for panel in dashboard["panels"]
        for dx in range(panel["gridPos"]["w"])
        for dy in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "panels lie over one another"
    assert max(x for x, _ in cells) < 24
    for panel in dashboard["panels"]:
        assert panel["type"] == "row" or panel["targets"], panel["title"]


def test_what_operators_need_is_on_them() -> None:
    shown = set().union(*(named(query.expr) for query in QUERIES))
    assert {
        "amostra_requests_total",
        "amostra_errors_total",
        "amostra_queue_wait_seconds_bucket",
        "amostra_step_duration_seconds_bucket",
        "amostra_encode_duration_seconds_bucket",
        "amostra_time_to_first_token_seconds_bucket",
        "amostra_padding_rows_total",
        "amostra_images_total",
        "amostra_tokens_generated_total",
        "amostra_gpu_memory_used_bytes",
        "amostra_gpu_utilisation_ratio",
        "amostra_score_drift_ks",
        "amostra_score_p_value_bucket",
        "amostra_model_state",
    } <= shown
