"""What is asked is what was drawn, and what is counted are the service's own answers."""

import io
import json

import numpy as np
import pytest

from benchmarks import scores_over_http as bench
from benchmarks.load import Answer, Request


def test_requests_hold_the_items_and_the_settings() -> None:
    x = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    request = bench.of_images(x, "fdr=0.1", "application/json")
    assert request.path == "/v1/score?fdr=0.1"
    assert np.array_equal(np.load(io.BytesIO(request.body)), x)
    sent = json.loads(bench.of_json("m", "input")(["a", "b"], "alpha=0.05", "application/json").body)
    assert sent == {"model": "m", "input": ["a", "b"], "alpha": 0.05}


@pytest.mark.parametrize(("below", "false", "found"), [(0.0, 0.0, "0%"), (0.5, 0.0, "100%"), (2.0, 0.9, "100%")])
def test_false_discoveries_are_the_share_of_normal_items_among_those_flagged(monkeypatch, below, false, found) -> None:
    """A service that flags every item below a number; normal items are 1, strange ones 0."""

    def ask(port: int, request: Request, timeout: float) -> Answer:
        data = [{"is_anomaly": row[0] < below} for row in json.loads(request.body)["inputs"]]
        return Answer(200, {}, json.dumps({"data": data, "calibration": {"size": 10}}).encode())

    monkeypatch.setattr(bench, "ask", ask)
    kind = bench.Kind("rows", np.ones((200, 1)), np.zeros((20, 1)), bench.of_json("m", "inputs"))
    compared = bench.false_discoveries(0, kind, 3)
    assert compared.our_figures == [pytest.approx(false)]
    assert f", {found} of the strange ones found" in compared.name


def test_an_error_is_no_score(monkeypatch) -> None:
    monkeypatch.setattr(bench, "ask", lambda port, request, timeout: Answer(422, {}, b"no"))
    with pytest.raises(RuntimeError, match="422"):
        bench.answered(0, Request("/v1/score"))
