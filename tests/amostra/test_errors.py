"""Everything that goes wrong is one of the tree, with all that is known of it."""

import httpx
import numpy as np
import pytest

from amostra import (
    AmostraError,
    Busy,
    Client,
    Failed,
    Invalid,
    NotFound,
    TimedOut,
    Unauthorized,
    Unreachable,
)
from service import errors as theirs
from tests.amostra.conftest import Ask, Live


def answering(status: int, **answer: object) -> Client:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, **answer))  # type: ignore[arg-type]
    return Client("http://amostra", retries=0, transport=transport)


def test_what_the_service_says_is_kept(ask: Ask) -> None:
    with pytest.raises(Invalid, match="'eleven' is no class of model mnist-gan") as refused:
        ask("generate", "eleven")
    error = refused.value
    assert (error.status, error.code, error.field, error.retry_after) == (422, "invalid", "prompt", None)
    assert error.request_id
    assert str(error) == error.detail


def test_what_there_is_not_is_not_found(ask: Ask) -> None:
    for call in (("model", "no/such model"), ("drift", "none"), ("sheet", "none")):
        with pytest.raises(NotFound):
            ask(*call)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (theirs.BadRequest("x"), Invalid),
        (theirs.Unauthorized("x"), Unauthorized),
        (theirs.NotFound("x"), NotFound),
        (theirs.NotAcceptable("x"), Invalid),
        (theirs.TooLarge("x"), Invalid),
        (theirs.UnsupportedMediaType("x"), Invalid),
        (theirs.Overloaded("x", retry_after=3), Busy),
        (theirs.RateLimited("x"), Busy),
        (theirs.NotReady("x", retry_after=1), Busy),
        (theirs.InternalError("x"), Failed),
        (theirs.ModelFailed("x"), Failed),
        (theirs.DeadlineExceeded("x", field="x-request-timeout"), TimedOut),
    ],
)
def test_every_error_of_the_service_has_its_place(error: theirs.AmostraError, kind: type[AmostraError]) -> None:
    client = answering(error.status, json=error.body("abc"), headers=error.headers())
    with pytest.raises(kind) as raised:
        client.models()
    assert type(raised.value) is kind
    assert (raised.value.code, raised.value.field, raised.value.request_id) == (error.code, error.field, "abc")
    assert (raised.value.retry_after or 0) >= (error.retry_after or 0)


@pytest.mark.parametrize(
    ("status", "answer", "kind", "says"),
    [
        (
            502,
            {"text": "<html>Bad gateway</html>"},
            Failed,
            "expected an answer of an Amostra service, found status 502",
        ),
        (503, {"json": [1]}, Busy, "status 503"),
        (301, {"headers": {"location": "https://elsewhere/"}}, Failed, "https://elsewhere/"),
        (200, {"text": "welcome"}, Failed, "cannot be read"),
        (200, {"json": {"data": [1]}}, Failed, "cannot be read"),
        (200, {"json": {}}, Failed, "cannot be read"),
    ],
)
def test_answers_of_others_are_failures_too(
    status: int, answer: dict[str, object], kind: type[AmostraError], says: str
) -> None:
    with pytest.raises(kind, match=says):
        answering(status, **answer).models()


@pytest.mark.parametrize("content", [b"welcome", b"\x93NUMPY\x01\x00", b""])
def test_arrays_that_are_none_are_failures(content: bytes) -> None:
    with pytest.raises(Failed, match="cannot be read"):
        answering(200, content=content).embed("x")


def test_nobody_there() -> None:
    with (
        Client("http://127.0.0.1:9", retries=0) as client,
        pytest.raises(Unreachable, match=r"127\.0\.0\.1:9 cannot be"),
    ):
        client.models()


def test_the_service_gives_up_with_the_client(live: Live) -> None:
    live.api.gate.close()
    try:
        with Client(live.url, timeout=0.2) as client, pytest.raises(TimedOut) as raised:
            client.generate()
        assert raised.value.status == 504
    finally:
        live.api.gate.open()


def test_a_service_that_says_nothing_is_given_up() -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("", request=request)

    with pytest.raises(TimedOut, match="no answer in time"):
        Client("http://amostra", transport=httpx.MockTransport(silent)).models()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"url": "localhost:3000"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://localhost:port"}, "url"),
        ({"timeout": 0}, "timeout"),
        ({"retries": -1}, "retries"),
    ],
)
def test_terms_that_mean_nothing_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}: expected"):
        Client(**wrong)  # type: ignore[arg-type]
    if says != "url":
        with pytest.raises(ValueError, match=f"^{says}: expected"):
            Client().with_options(**wrong)  # type: ignore[arg-type]


def test_images_of_a_wrong_size_are_the_services_to_refuse(ask: Ask) -> None:
    with pytest.raises(Invalid, match="expected an image of 1 × 8 × 8"):
        ask("score", np.zeros((2, 1, 9, 9)))
