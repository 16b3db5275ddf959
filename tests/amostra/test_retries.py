"""What is tried again, when, and what is said with it."""

import asyncio
import time
from collections.abc import Callable

import httpx
import pytest

from amostra import AmostraError, AsyncClient, Busy, Client, Invalid, TimedOut, Unreachable, calls, exchange
from amostra.calls import Call
from amostra.exchange import Send, Terms, Wait

MODELS = {"object": "list", "data": []}
TERMS = Terms("http://amostra", "secret", 60.0, 3, "background")


def refusal(status: int, retry_after: str | None = None) -> httpx.Response:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return httpx.Response(status, headers=headers, request=httpx.Request("GET", "http://amostra"))


def pauses(
    outcomes: Callable[[int], httpx.Response | httpx.TransportError], terms: Terms, call: Call | None = None
) -> tuple[list[float], AmostraError]:
    """Go through the attempts of a call that never succeeds, without waiting."""
    steps = exchange.attempts(call or calls.models(), terms)
    waited: list[float] = []
    step = next(steps)
    try:
        for i in range(100):
            assert isinstance(step, Send)
            step = steps.send(outcomes(i))
            assert isinstance(step, Wait)
            waited.append(step.seconds)
            step = next(steps)
    except AmostraError as error:
        return waited, error
    raise AssertionError("it never ends")


@pytest.mark.parametrize("status", [429, 503])
def test_pauses_grow_and_end(status: int) -> None:
    waited, error = pauses(lambda _: refusal(status), TERMS)
    assert isinstance(error, Busy)
    assert len(waited) == TERMS.retries
    assert all(0.125 * 2**i <= pause <= 0.25 * 2**i for i, pause in enumerate(waited))


def test_it_waits_as_long_as_it_is_told() -> None:
    waited, error = pauses(lambda _: refusal(429, "4"), TERMS)
    assert all(pause >= 4 for pause in waited)
    assert error.retry_after == 4


def test_a_date_and_nonsense_are_no_time_to_come_back() -> None:
    for text in ("Fri, 21 Nov 2036 08:00:00 GMT", "soon"):
        waited, error = pauses(lambda _, text=text: refusal(503, text), TERMS)  # type: ignore[misc]
        assert max(waited) <= 1
        assert error.retry_after is None


def test_it_does_not_wait_for_what_comes_too_late() -> None:
    waited, error = pauses(lambda _: refusal(429, "61"), TERMS)
    assert waited == []
    assert error.retry_after == 61


def test_without_a_deadline_it_waits() -> None:
    terms = Terms("http://amostra", None, None, 1, None)
    assert len(pauses(lambda _: refusal(429, "6000"), terms)[0]) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 422, 500, 504])
def test_what_would_fail_again_is_not_tried_again(status: int) -> None:
    assert pauses(lambda _: refusal(status), TERMS)[0] == []


@pytest.mark.parametrize(
    ("error", "tried_again", "of_one_that_makes_something"),
    [
        (httpx.ConnectError("refused"), True, True),
        (httpx.ConnectTimeout("nobody"), True, True),
        (httpx.RemoteProtocolError("closed"), True, False),
        (httpx.ReadError("reset"), True, False),
        (httpx.ReadTimeout("late"), False, False),
    ],
)
def test_connections(error: httpx.TransportError, tried_again: bool, of_one_that_makes_something: bool) -> None:
    waited, found = pauses(lambda _: error, TERMS)
    assert bool(waited) is tried_again
    assert isinstance(found, Unreachable if tried_again else TimedOut)
    making: Call[bytes] = Call("POST", "/v1/things", lambda response: response.content, repeatable=False)
    assert bool(pauses(lambda _: error, TERMS, making)[0]) is of_one_that_makes_something


def test_terms_are_said_in_headers() -> None:
    step = next(exchange.attempts(calls.generate("7"), TERMS))
    assert isinstance(step, Send)
    headers = step.request.headers
    assert headers["authorization"] == "Bearer secret"
    assert headers["x-request-priority"] == "background"
    assert 59 < float(headers["x-request-timeout"]) <= 60
    assert headers["accept"] == "application/x-npy"
    silent = next(exchange.attempts(calls.generate("7"), Terms("http://amostra", None, None, 0, None)))
    assert isinstance(silent, Send)
    assert not {"authorization", "x-request-priority", "x-request-timeout"} & set(silent.request.headers)


def test_the_deadline_counts_from_the_first_attempt() -> None:
    steps = exchange.attempts(calls.models(), TERMS)
    first = next(steps)
    steps.send(refusal(503))
    time.sleep(0.05)
    second = next(steps)
    assert isinstance(first, Send)
    assert isinstance(second, Send)
    seconds = [float(step.request.headers["x-request-timeout"]) for step in (first, second)]
    assert 0.049 <= seconds[0] - seconds[1] < 5


def test_the_environment_says_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMOSTRA_URL", "https://models.example/prefix/")
    monkeypatch.setenv("AMOSTRA_API_KEY", "of the environment\n")
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=MODELS)

    transport = httpx.MockTransport(answer)
    Client(transport=transport).models()
    Client("http://other", key="mine", transport=transport).with_options(priority="background").models()
    assert [str(request.url) for request in seen] == [
        "https://models.example/prefix/v1/models?state=ready",
        "http://other/v1/models?state=ready",
    ]
    assert [request.headers["authorization"] for request in seen] == ["Bearer of the environment", "Bearer mine"]
    assert seen[1].headers["x-request-priority"] == "background"


class Flaky:
    """Refuses, breaks off, and then answers."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.content)
        if len(self.bodies) == 1:
            return httpx.Response(429, headers={"retry-after": "0.01"})
        if len(self.bodies) == 2:
            raise httpx.ReadError("reset", request=request)
        choice = {"index": 0, "text": "x", "finish_reason": "stop", "logprobs": None}
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        return httpx.Response(200, json={"choices": [choice], "model": "m", "seed": 1, "usage": usage})


def test_both_clients_try_again_with_the_same_body() -> None:
    flaky = Flaky()
    assert Client("http://amostra", transport=httpx.MockTransport(flaky)).complete("a").text == "x"

    async def talk() -> str:
        async with AsyncClient("http://amostra", transport=httpx.MockTransport(again)) as client:
            return (await client.complete("a")).text

    again = Flaky()
    assert asyncio.run(talk()) == "x"
    assert flaky.bodies == again.bodies == [b'{"prompt":"a"}'] * 3


def test_a_request_that_is_wrong_is_sent_once() -> None:
    sent = 0

    def refuse(_: httpx.Request) -> httpx.Response:
        nonlocal sent
        sent += 1
        return httpx.Response(422)

    with pytest.raises(Invalid):
        Client("http://amostra", transport=httpx.MockTransport(refuse)).models()
    assert sent == 1
