"""Complete: the text is the model's, stop strings never show, and what is streamed adds up to what is returned."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel

from contract import Capability
from service.engine.job import Call, Sampling, SequenceCall, Token
from service.errors import Invalid
from service.model import LoadedModel
from service.samplers import noise
from service.tasks.complete import Completion, Piece, Request, complete, tokenize_prompt
from service.tasks.score import score_texts
from tests.service.tasks.drive import drive, next_token, on
from tests.toys.directories import CHARACTERS, CONTEXT, START, WRITER


@pytest.fixture
def model(models: dict[str, LoadedModel]) -> LoadedModel:
    return models[WRITER]


def ask(model: LoadedModel, prompt: str = "To be", **fields: Any) -> Request:
    sampling = fields.pop("sampling", Sampling())
    base = Request(tokenize_prompt(model, prompt), prompt, index=0, seed=1, max_tokens=20, sampling=sampling)
    return replace(base, **fields)


def written(model: LoadedModel, request: Request) -> Completion:
    return drive(complete(model, request), on(model))


def by_the_book(model: LoadedModel, request: Request) -> str:
    """Token after token, each from all that the context holds; where it is full its later half is kept."""
    runner, history = model.runners[Capability.NEXT_TOKEN], [START, *request.prompt.tolist()]
    window, ids = list(history), []
    uniform = noise.uniform(request.seed, request.index, request.max_tokens)
    for step in range(request.max_tokens):
        if len(window) > CONTEXT:
            window = history[-(CONTEXT // 2) :]
        token = next_token(runner, window, request.sampling, uniform[step])
        for kept in (window, history, ids):
            kept.append(token.id)
    return "".join(CHARACTERS[i] for i in ids)


@pytest.mark.parametrize("max_tokens", [1, 20, 100], ids=["one token", "within the context", "beyond the context"])
@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(0.8, 0.9, 10)], ids=["greedy", "sampled"])
def test_the_text_is_the_model_s(model: LoadedModel, max_tokens: int, sampling: Sampling) -> None:
    request = ask(model, max_tokens=max_tokens, sampling=sampling)
    done = written(model, request)
    assert done.text == by_the_book(model, request)
    assert len(done.text) == done.completion_tokens == max_tokens
    assert (done.finish_reason, done.prompt_tokens) == ("length", 5)


def test_a_prompt_that_fills_the_context_is_gone_on_with(model: LoadedModel) -> None:
    request = ask(model, prompt="a" * (CONTEXT - 1), max_tokens=40)
    assert written(model, request).text == by_the_book(model, request)


def test_an_empty_prompt_begins_a_text(model: LoadedModel) -> None:
    done = written(model, ask(model, prompt=""))
    assert (len(done.text), done.prompt_tokens) == (20, 0)


def test_seed_and_index_choose_the_text_and_nothing_else_does(model: LoadedModel) -> None:
    texts = {(seed, i): written(model, ask(model, seed=seed, index=i)).text for seed in (1, 2) for i in (0, 1, 2)}
    assert len(set(texts.values())) == 6
    assert written(model, ask(model, seed=2, index=1)).text == texts[2, 1]


def test_asking_for_less_gives_the_beginning(model: LoadedModel) -> None:
    long = written(model, ask(model, max_tokens=60)).text
    for count in (1, 7, 59):
        assert written(model, ask(model, max_tokens=count)).text == long[:count]


def test_no_tokens_at_all(model: LoadedModel) -> None:
    done = written(model, ask(model, max_tokens=0))
    assert (done.text, done.completion_tokens, done.finish_reason) == ("", 0, "length")
    assert written(model, ask(model, max_tokens=0, echo=True)).text == "To be"


def test_the_end_token_ends_the_text_and_is_not_part_of_it(model: LoadedModel) -> None:
    request = ask(model, max_tokens=60)
    text = written(model, request).text
    end = text[10]
    assert model.manifest.text is not None
    with_end = model.manifest.text.model_copy(update={"end_token": CHARACTERS.index(end)})
    other = replace(model, manifest=model.manifest.model_copy(update={"text": with_end}))
    done = written(other, request)
    assert done.text == text[: text.index(end)]
    assert done.finish_reason == "stop"


class TestEcho:
    def test_the_prompt_comes_first(self, model: LoadedModel) -> None:
        plain = written(model, ask(model))
        echoed = written(model, ask(model, echo=True))
        assert echoed.text == "To be" + plain.text
        assert echoed.completion_tokens == plain.completion_tokens

    def test_its_log_probs_are_those_of_a_score(self, model: LoadedModel) -> None:
        request = ask(model, "Hello there", echo=True, logprobs=True, max_tokens=3)
        done = written(model, request)
        assert [text for text, _ in done.tokens] == [*"Hello there", *done.text[-3:]]
        prompt_total = sum(token.log_prob for _, token in done.tokens[:11] if token)
        score = drive(score_texts(model, [request.prompt]), on(model))
        assert prompt_total == pytest.approx(score.log_prob[0], abs=1e-3)

    def test_all_of_a_completion_s_log_probs_are_those_of_its_score(self, model: LoadedModel) -> None:
        """What was sampled and what is scored are the same model."""
        done = written(model, ask(model, "", logprobs=True, max_tokens=CONTEXT))
        score = drive(score_texts(model, [tokenize_prompt_of(model, done.text)]), on(model))
        assert sum(token.log_prob for _, token in done.tokens if token) == pytest.approx(score.log_prob[0], abs=1e-3)


def tokenize_prompt_of(model: LoadedModel, text: str) -> np.ndarray:
    return np.array([CHARACTERS.index(c) for c in text])


class TestPrompt:
    def test_longer_than_the_context_is_refused_with_the_room(self, model: LoadedModel) -> None:
        with pytest.raises(Invalid, match=f"{CONTEXT} tokens, model {WRITER} takes {CONTEXT - 1}") as caught:
            tokenize_prompt(model, "a" * CONTEXT)
        assert caught.value.field == "prompt"

    def test_unknown_characters_are_refused_with_their_place(self, model: LoadedModel) -> None:
        with pytest.raises(Invalid, match="'€' at position 3") as caught:
            tokenize_prompt(model, "abc€")
        assert caught.value.field == "prompt"


PARTS = ["a", "b", "ab", "ba", "aba", "bb"]


def of_parts(model: LoadedModel) -> LoadedModel:
    """The same model with a tokenizer whose tokens are several letters long."""
    tokenizer = Tokenizer(WordLevel({part: i for i, part in enumerate(PARTS)}, unk_token="a"))
    tokenizer.decoder = Fuse()
    return replace(model, tokenizer=tokenizer)


def saying(ids: Sequence[int]) -> Callable[[Call], np.ndarray]:
    script = iter(ids)

    def answer(call: Call) -> np.ndarray:
        assert isinstance(call, SequenceCall)
        said: list[int] = []
        for _ in call.uniform:
            said.append(next(script))
            if call.listen is not None and call.listen(Token(said[-1], -1.0)):
                break
        return np.array(said)

    return answer


def streamed(model: LoadedModel, request: Request, answer: Callable[[Call], Any]) -> tuple[Completion, list[Piece]]:
    pieces: list[Piece] = []
    return drive(complete(model, request, pieces.append), answer), pieces


class TestStop:
    @pytest.mark.parametrize("seed", range(60))
    def test_laws(self, model: LoadedModel, seed: int) -> None:
        rng = np.random.default_rng(seed)
        ids = rng.integers(0, len(PARTS), 30).tolist()
        stops = tuple("".join(rng.choice(list("ab"), rng.integers(1, 6))) for _ in range(rng.integers(0, 4)))
        stops = tuple(stop for stop in stops if len(stop) > 2 or seed % 3 == 0)
        logprobs = bool(seed % 2)
        request = Request(np.array([], np.int64), "", 0, 0, 30, Sampling(), stops, logprobs=logprobs)
        done, pieces = streamed(of_parts(model), request, saying(ids))
        everything = "".join(PARTS[i] for i in ids)

        assert not any(stop in done.text for stop in stops)
        assert everything.startswith(done.text)
        if done.finish_reason == "stop":
            assert any(everything[len(done.text) :].startswith(stop) for stop in stops)
        else:
            assert done.text == everything
            assert done.completion_tokens == 30
        # A token is computed only where no stop string was complete before it.
        before_last = "".join(PARTS[i] for i in ids[: done.completion_tokens - 1])
        assert not any(stop in before_last for stop in stops)

        assert "".join(piece.text for piece in pieces) == done.text
        assert [piece.finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + [done.finish_reason]
        assert tuple(itertools.chain.from_iterable(piece.tokens for piece in pieces)) == done.tokens
        assert len(done.tokens) == (done.completion_tokens if logprobs else 0)

    def test_text_is_sent_as_soon_as_it_is_certain(self, model: LoadedModel) -> None:
        """Of `abab…`, with the stop `abb`: an `a` or `ab` at the end may still become it, all before may not."""
        request = Request(np.array([], np.int64), "", 0, 0, 6, Sampling(), ("abb",))
        _, pieces = streamed(of_parts(model), request, saying([0, 1, 0, 1, 0, 5]))
        assert [piece.text for piece in pieces] == ["ab", "ab", ""]
        _, pieces = streamed(of_parts(model), replace(request, stop=()), saying([0, 1, 0, 1, 0, 5]))
        assert [piece.text for piece in pieces][:5] == ["a", "b", "a", "b", "a"]

    def test_across_the_tokens_of_the_real_tokenizer(self, model: LoadedModel) -> None:
        text = written(model, ask(model, max_tokens=60)).text
        stop = text[20:25]
        done = written(model, ask(model, max_tokens=60, stop=("never seen", stop)))
        assert done.text == text[: text.index(stop)]
        assert done.finish_reason == "stop"

    def test_the_prompt_is_not_searched(self, model: LoadedModel) -> None:
        done = written(model, ask(model, prompt="To be", stop=("o b",), echo=True))
        assert done.text.startswith("To be")
        assert done.completion_tokens > 0

    def test_the_earliest_of_several_counts(self, model: LoadedModel) -> None:
        for stops in itertools.permutations(("b", "ab", "ba")):
            request = Request(np.array([], np.int64), "", 0, 0, 6, Sampling(), stops)
            done, _ = streamed(of_parts(model), request, saying([4]))
            assert done.text == ""


def test_whether_somebody_listens_or_not_the_text_is_the_same(model: LoadedModel) -> None:
    for max_tokens in (1, 37, 100):
        request = ask(model, max_tokens=max_tokens)
        pieces: list[Piece] = []
        heard = drive(complete(model, request, pieces.append), on(model))
        assert heard == written(model, request)
        assert "".join(piece.text for piece in pieces) == heard.text


def test_work_bounds_the_tokens(model: LoadedModel) -> None:
    assert ask(model, max_tokens=12).work == 17
