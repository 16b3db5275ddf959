"""Alerts watch metrics that exist, lead to what to do, and are tested."""

import re
from typing import Any

import pytest
import yaml

from deploy.container_test.shell import ROOT
from tests.deploy.exposed import named, series

FOLDER = ROOT / "deploy/prometheus"
ALERTS = [a for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for a in group["rules"]]
NAMES = [alert["alert"] for alert in ALERTS]


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_an_alert_watches_metrics_that_exist(alert: dict[str, Any]) -> None:
    names = named(alert["expr"])
    assert names <= series(), f"unknown: {names - series()}"
    assert names or alert["expr"].startswith("up{")
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert alert["for"]


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_an_alert_leads_to_what_to_do(alert: dict[str, Any]) -> None:
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
    section = (ROOT / page).read_text("utf-8").split(f"## {alert['alert']}\n")[1].split("\n## ")[0]
    assert all(f"**{part}" in section for part in ("Means:", "Look at:", "Do"))


def test_promtool_s_tests_see_every_alert_ring_and_keep_silent() -> None:
    """They are run by `make container-test`, which has promtool."""
    tests = yaml.safe_load((FOLDER / "alerts.test.yml").read_text())["tests"]
    seen = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in seen if case["exp_alerts"]} == set(NAMES)
    assert {case["alertname"] for case in seen if not case["exp_alerts"]} == set(NAMES)


def test_prometheus_loads_the_alerts_and_scrapes_the_service() -> None:
    configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert configuration["rule_files"] == ["alerts.yml"]
    (job,) = configuration["scrape_configs"]
    assert (job["job_name"], job["static_configs"]) == ("amostra", [{"targets": ["amostra:3000"]}])
