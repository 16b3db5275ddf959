"""Route of completions: OpenAI's shape, whole or in events that add up to the same."""

from typing import Any

import pytest

from tests.service.api.client import Api, events
from tests.toys.directories import CHARACTERS, CONTEXT, WRITER

PATH = "/v1/completions"
ASK: dict[str, Any] = {"prompt": "To be", "max_tokens": 20, "seed": 3}


def choices_of(stream: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """Events put together again, by choice."""
    found: dict[int, dict[str, Any]] = {}
    for event in stream:
        for choice in event["choices"]:
            whole = found.setdefault(choice["index"], {"index": choice["index"], "text": "", "logprobs": None})
            assert "finish_reason" not in whole or whole["finish_reason"] is None, "nothing comes after the end"
            whole["text"] += choice["text"]
            whole["finish_reason"] = choice["finish_reason"]
            if choice["logprobs"] is not None:
                lists = whole["logprobs"] or {name: [] for name in choice["logprobs"]}
                whole["logprobs"] = {name: lists[name] + choice["logprobs"][name] for name in lists}
    return found


def test_shape(api: Api) -> None:
    answer = api.post(PATH, json=ASK)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    body = answer.json()
    assert set(body) == {"id", "object", "created", "model", "system_fingerprint", "seed", "choices", "usage"}
    assert body["object"] == "text_completion"
    assert body["id"] == f"cmpl-{answer.headers['x-request-id']}"
    assert (body["model"], body["system_fingerprint"], body["seed"]) == (WRITER, f"{WRITER}@1", 3)
    (choice,) = body["choices"]
    assert set(choice) == {"index", "text", "finish_reason", "logprobs"}
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "length", None)
    assert len(choice["text"]) == 20
    assert set(choice["text"]) <= set(CHARACTERS)
    assert body["usage"] == {"prompt_tokens": 5, "completion_tokens": 20, "total_tokens": 25}


def test_defaults(api: Api) -> None:
    body = api.post(PATH, json={}).json()
    assert body["usage"] == {"prompt_tokens": 0, "completion_tokens": 16, "total_tokens": 16}
    assert isinstance(body["seed"], int)


def test_a_drawn_seed_gives_the_same_again(api: Api) -> None:
    first, other = (api.post(PATH, json={"prompt": "To be"}).json() for _ in range(2))
    assert first["choices"] != other["choices"]
    again = api.post(PATH, json={"prompt": "To be", "seed": first["seed"]}).json()
    assert again["choices"] == first["choices"]


def test_several_completions_of_several_prompts(api: Api) -> None:
    body = api.post(PATH, json={**ASK, "prompt": ["To be", "or"], "n": 3}).json()
    assert [choice["index"] for choice in body["choices"]] == list(range(6))
    assert len({choice["text"] for choice in body["choices"]}) == 6
    assert body["usage"] == {"prompt_tokens": 5 + 2, "completion_tokens": 120, "total_tokens": 127}
    fewer = api.post(PATH, json={**ASK, "n": 2}).json()
    assert fewer["choices"] == body["choices"][:2]


def test_greedy_needs_no_seed(api: Api) -> None:
    texts = {api.post(PATH, json={**ASK, "temperature": 0, "seed": s}).json()["choices"][0]["text"] for s in range(4)}
    assert len(texts) == 1


def test_sampling_parameters_reach_the_model(api: Api) -> None:
    greedy = api.post(PATH, json={**ASK, "temperature": 0}).json()["choices"][0]["text"]
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-6}):
        assert api.post(PATH, json={**ASK, **narrow}).json()["choices"][0]["text"] == greedy
    for wide in ({}, {"top_k": 5}, {"top_p": 0.9}, {"temperature": 2}):
        assert api.post(PATH, json={**ASK, **wide}).json()["choices"][0]["text"] != greedy


@pytest.mark.parametrize(
    "nothing",
    [
        {"best_of": 1},
        {"frequency_penalty": 0},
        {"presence_penalty": 0},
        {"logit_bias": {}},
        {"suffix": None},
        {"user": "somebody"},
        {"stream_options": None},
    ],
)
def test_openai_s_fields_that_ask_for_nothing_are_taken(api: Api, nothing: dict[str, Any]) -> None:
    assert api.post(PATH, json={**ASK, **nothing}).json()["choices"] == api.post(PATH, json=ASK).json()["choices"]


def test_stop_and_what_is_counted(api: Api) -> None:
    whole = api.post(PATH, json={**ASK, "max_tokens": 60}).json()["choices"][0]["text"]
    stop = whole[30:33]
    for given in (stop, [stop], ["never seen", stop]):
        body = api.post(PATH, json={**ASK, "max_tokens": 60, "stop": given}).json()
        (choice,) = body["choices"]
        assert choice["text"] == whole[: whole.index(stop)]
        assert choice["finish_reason"] == "stop"
        assert body["usage"]["completion_tokens"] <= 33


def test_longer_than_the_context(api: Api) -> None:
    text = api.post(PATH, json={**ASK, "max_tokens": 5 * CONTEXT}).json()["choices"][0]["text"]
    assert len(text) == 5 * CONTEXT
    assert text.startswith(api.post(PATH, json=ASK).json()["choices"][0]["text"])


class TestLogprobs:
    def test_four_parallel_lists(self, api: Api) -> None:
        (choice,) = api.post(PATH, json={**ASK, "logprobs": 3}).json()["choices"]
        lists = choice["logprobs"]
        assert set(lists) == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
        assert "".join(lists["tokens"]) == choice["text"]
        assert lists["text_offset"] == list(range(20))
        assert all(value < 0 for value in lists["token_logprobs"])
        for token, value, top in zip(lists["tokens"], lists["token_logprobs"], lists["top_logprobs"], strict=True):
            assert len(top) == 3
            assert list(top.values()) == sorted(top.values(), reverse=True)
            assert top.get(token, value) == pytest.approx(value)
            assert value <= max(top.values()) + 1e-9

    def test_none_beside_the_chosen(self, api: Api) -> None:
        (choice,) = api.post(PATH, json={**ASK, "logprobs": 0}).json()["choices"]
        assert choice["logprobs"]["top_logprobs"] == [None] * 20

    def test_they_do_not_change_the_text(self, api: Api) -> None:
        plain = api.post(PATH, json=ASK).json()["choices"][0]["text"]
        assert api.post(PATH, json={**ASK, "logprobs": 5}).json()["choices"][0]["text"] == plain

    def test_what_a_stop_string_cut_off_is_left_out(self, api: Api) -> None:
        whole = api.post(PATH, json=ASK).json()["choices"][0]["text"]
        (choice,) = api.post(PATH, json={**ASK, "stop": whole[10:13], "logprobs": 1}).json()["choices"]
        assert "".join(choice["logprobs"]["tokens"]) == choice["text"]

    def test_echo_has_those_of_the_prompt(self, api: Api) -> None:
        (choice,) = api.post(PATH, json={**ASK, "echo": True, "logprobs": 0, "max_tokens": 2}).json()["choices"]
        assert choice["text"].startswith("To be")
        assert choice["logprobs"]["tokens"] == list(choice["text"])
        assert choice["logprobs"]["text_offset"] == list(range(7))
        (score,) = api.post("/v1/score", json={"input": "To be"}).json()["data"]
        assert sum(choice["logprobs"]["token_logprobs"][:5]) == pytest.approx(score["log_prob"], abs=1e-3)


STREAMED: dict[str, dict[str, Any]] = {
    "plain": {},
    "greedy": {"temperature": 0},
    "several": {"n": 3, "prompt": ["To be", "or"]},
    "beyond the context": {"max_tokens": 70},
    "echo": {"echo": True},
    "logprobs": {"logprobs": 2},
    "echo and logprobs": {"echo": True, "logprobs": 2, "n": 2},
    "no tokens": {"max_tokens": 0},
    "no tokens, echo": {"max_tokens": 0, "echo": True},
    "stop": {"stop": ["e", "a", "t"], "max_tokens": 60},
    "long stop": {"stop": ["abcdefgh", "zz"], "max_tokens": 60, "logprobs": 0},
}


@pytest.mark.parametrize("case", STREAMED)
def test_a_stream_adds_up_to_the_whole(api: Api, case: str) -> None:
    ask = {**ASK, **STREAMED[case]}
    whole = api.post(PATH, json=ask).json()
    stream = events(api.post(PATH, json={**ask, "stream": True}))
    assert {(e["object"], e["model"], e["seed"]) for e in stream} == {("text_completion", WRITER, 3)}
    assert len({(event["id"], event["created"]) for event in stream}) == 1
    assert not any("usage" in event for event in stream)
    found = choices_of(stream)
    for choice in whole["choices"]:
        streamed = found[choice["index"]]
        if choice["logprobs"] is not None:
            # A stream cannot take back the tokens that a stop string cut off.
            count = len(choice["logprobs"]["tokens"])
            streamed["logprobs"] = {name: values[:count] for name, values in streamed["logprobs"].items()}
        assert streamed == choice


def test_a_stream_comes_in_pieces(api: Api) -> None:
    stream = events(api.post(PATH, json={**ASK, "stream": True}))
    assert len(stream) >= 20


def test_usage_comes_last_where_it_was_asked_for(api: Api) -> None:
    ask = {**ASK, "n": 2, "stream": True, "stream_options": {"include_usage": True}}
    *pieces, last = events(api.post(PATH, json=ask))
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 5, "completion_tokens": 40, "total_tokens": 45}
    assert all(piece["choices"] for piece in pieces)


def test_a_stream_is_not_held_up_on_its_way(api: Api) -> None:
    headers = api.post(PATH, json={**ASK, "stream": True}).headers
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    assert "content-length" not in headers
