"""The runner of sequences: what one writes does not depend on who writes beside it, comes or leaves."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort
import pytest

from service.engine.job import Sampling, Token, TokenCall
from service.engine.scheduler import Lane, Scheduler, Work
from service.engine.sequences import SequenceRunner
from service.samplers.tokens import log_softmax
from tests.toys import graphs

VOCABULARY, CONTEXT = 19, 32
POISON = 17
"""The toy's embedding of this token is no number."""
UNKNOWN = VOCABULARY
"""A token without an embedding: the runtime refuses the whole batch that it is in."""


def language() -> graphs.Language:
    language = graphs.Language(VOCABULARY, CONTEXT)
    language.embedding[POISON] = np.nan
    language.head[:, POISON] = 0
    return language


def session(parts: graphs.Parts) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(parts[0].SerializeToString(), options, providers=["CPUExecutionProvider"])


SESSION = session(graphs.next_token(language()))
BIGRAM = session(graphs.bigram(VOCABULARY))
"""It has no keys and values."""


def edible(token: int) -> int:
    """What is fed where the model itself chose the poison."""
    return 0 if token == POISON else token


@dataclass(eq=False)
class Writer:
    """A sequence: it asks for `count` tokens, and feeds `instead[n]` where it should feed its nth token."""

    prompt: Sequence[int]
    count: int
    uniform: np.ndarray
    sampling: Sampling = field(default_factory=Sampling)
    arrives: int = 0
    leaves: int | None = None
    instead: dict[int, int] = field(default_factory=dict)
    tokens: list[Token] = field(default_factory=list)
    error: Exception | None = None

    def said(self) -> list[tuple[int, float]]:
        return [(token.id, token.log_prob) for token in self.tokens]


def write(
    writers: Sequence[Writer], slots: int = 4, chunk: int = 8, graph: ort.InferenceSession = SESSION
) -> SequenceRunner:
    """Run all writers to their ends on one runner, through the scheduler."""
    runner = SequenceRunner(graph, slots, CONTEXT)
    scheduler = Scheduler()
    lane = Lane("text", "next", slots, slots, chunk)
    for turn in range(10_000):
        for writer in writers:
            if writer.arrives == turn:
                call = TokenCall(np.array(writer.prompt, np.int64), writer.uniform[0], writer.sampling)
                scheduler.add(Work(writer, call, lane))
            if writer.leaves == turn:
                scheduler.discard(writer, lane)
        batch = scheduler.next_batch()
        if batch is None:
            if all(writer.arrives < turn for writer in writers):
                return runner
            continue
        for piece, answer in zip(batch.pieces, runner.run(batch), strict=True):
            writer = piece.work.owner
            if answer is None:
                assert piece.stop < piece.work.call.size
            elif isinstance(answer, Exception):
                writer.error = answer
                scheduler.discard(writer, lane)
            elif writer.leaves is None or writer.leaves > turn:
                writer.tokens.append(answer)
                if len(writer.tokens) == writer.count:
                    scheduler.discard(writer, lane)
                else:
                    token = writer.instead.get(len(writer.tokens), edible(answer.id))
                    call = TokenCall(np.array([token]), writer.uniform[len(writer.tokens)])
                    scheduler.add(Work(writer, call, lane))
        scheduler.finish(batch, 1.0)
    raise AssertionError("the writers never came to an end")


def random_writer(rng: np.random.Generator, **fields: object) -> Writer:
    length = int(rng.integers(1, 20))
    sampling = Sampling(
        temperature=float(rng.choice([0, 0.7, 1, 1.5])),
        top_p=float(rng.choice([0.5, 0.9, 1])),
        top_k=int(rng.choice([0, 3])),
    )
    prompt = rng.integers(0, POISON, length).tolist()
    return Writer(prompt, int(rng.integers(1, CONTEXT - length + 1)), rng.random(CONTEXT), sampling, **fields)


def copy(writer: Writer) -> Writer:
    return Writer(writer.prompt, writer.count, writer.uniform, writer.sampling)


def alone(writer: Writer, graph: ort.InferenceSession = SESSION) -> list[tuple[int, float]]:
    twin = copy(writer)
    write([twin], slots=1, chunk=8, graph=graph)
    return twin.said()


@pytest.mark.parametrize("graph", [SESSION, BIGRAM], ids=["transformer", "bigram"])
@pytest.mark.parametrize("seed", range(6))
def test_tokens_are_bit_identical_to_being_alone_whoever_comes_and_leaves(
    seed: int, graph: ort.InferenceSession
) -> None:
    rng = np.random.default_rng(seed)
    writers = []
    for _ in range(30):
        arrives = int(rng.integers(0, 60))
        leaves = arrives + int(rng.integers(0, 25)) if rng.random() < 0.25 else None
        writers.append(random_writer(rng, arrives=arrives, leaves=leaves))
    write(writers, slots=int(rng.choice([2, 5, 8])), graph=graph)
    for writer in writers:
        expected = alone(writer, graph)
        assert writer.said() == expected[: len(writer.tokens)]
        if writer.leaves is None:
            assert len(writer.tokens) == writer.count


def slow(writer: Writer) -> list[int]:
    """Each token from the whole sequence, without a cache that lives on, greedily."""
    ids, chosen = list(writer.prompt), []
    empty = {i.name: np.zeros((1, 1, CONTEXT, 16), np.float32) for i in SESSION.get_inputs() if "past" in i.name}
    for _ in range(writer.count):
        length = len(ids)
        feed = {
            "input_ids": np.array([ids]),
            "seqlens_k": np.array([length - 1], np.int32),
            "total_sequence_length": np.array(length, np.int32),
        }
        logits = SESSION.run(["logits"], {**feed, **empty})[0]
        chosen.append(int(logits[0].argmax()))
        ids.append(edible(chosen[-1]))
    return chosen


def test_greedy_text_is_that_of_the_slow_reference() -> None:
    rng = np.random.default_rng(3)
    writers = [random_writer(rng, arrives=i) for i in range(8)]
    for writer in writers:
        writer.sampling = Sampling(temperature=0)
    write(writers, slots=3, chunk=5)
    for writer in writers:
        assert [token.id for token in writer.tokens] == slow(writer)


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_a_bigram_says_what_its_table_says(chunk: int) -> None:
    rng = np.random.default_rng(9)
    writers = [random_writer(rng, arrives=i) for i in range(8)]
    runner = write(writers, slots=3, chunk=chunk, graph=BIGRAM)
    assert runner.bytes == 0
    table = log_softmax(graphs.bigram_logits(VOCABULARY))
    for writer in writers:
        fed = [writer.prompt[-1], *(edible(token.id) for token in writer.tokens)]
        assert [token.log_prob for token in writer.tokens] == pytest.approx(
            [table[before, token.id] for before, token in zip(fed, writer.tokens, strict=False)]
        )
        assert len(writer.tokens) == writer.count


def test_a_bigram_s_row_that_raises_fails_alone() -> None:
    rng = np.random.default_rng(10)
    writers = [random_writer(rng) for _ in range(3)]
    for writer in writers:
        writer.count = 12
    writers[1].instead = {5: UNKNOWN}
    write(writers, graph=BIGRAM)
    assert isinstance(writers[1].error, Exception)
    assert len(writers[1].tokens) == 5
    for writer in (writers[0], writers[2]):
        assert writer.error is None
        assert writer.said() == alone(writer, BIGRAM)


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_chunks_of_a_prompt_change_nothing(chunk: int) -> None:
    rng = np.random.default_rng(4)
    writers = [random_writer(rng, arrives=i) for i in range(6)]
    expected = [copy(writer) for writer in writers]
    write(expected, chunk=8)
    write(writers, chunk=chunk)
    for a, b in zip(writers, expected, strict=True):
        assert [t.id for t in a.tokens] == [t.id for t in b.tokens]
        assert np.allclose([t.log_prob for t in a.tokens], [t.log_prob for t in b.tokens], atol=1e-4)


def test_a_sequence_may_fill_the_whole_context() -> None:
    writer = Writer(list(range(10)), CONTEXT - 9, np.full(CONTEXT, 0.3))
    write([writer], slots=2)
    assert len(writer.tokens) == CONTEXT - 9
    assert writer.error is None


def test_a_slot_that_was_used_before_leaves_no_trace() -> None:
    rng = np.random.default_rng(5)
    writers = [random_writer(rng, arrives=i * 80) for i in range(6)]  # one after the other, in the same slot
    write(writers, slots=1)
    for writer in writers:
        assert writer.said() == alone(writer)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("poison", [POISON, UNKNOWN], ids=["a number that is none", "a step that raises"])
def test_a_poisoned_row_fails_alone(place: int, poison: int) -> None:
    rng = np.random.default_rng(6)
    writers = [random_writer(rng) for _ in range(3)]
    for writer in writers:
        writer.prompt, writer.count = writer.prompt[:4], 12
    victim = writers[place]
    victim.instead = {5: poison}
    write(writers)
    assert isinstance(victim.error, Exception)
    assert victim.said() == alone(victim)[:5]
    for writer in writers:
        if writer is not victim:
            assert writer.error is None
            assert writer.said() == alone(writer)


@pytest.mark.parametrize("poison", [POISON, UNKNOWN])
@pytest.mark.parametrize("at", [0, 9, 19], ids=["first chunk", "second chunk", "last token"])
def test_a_poisoned_prompt_fails_alone(poison: int, at: int) -> None:
    rng = np.random.default_rng(7)
    writers = [random_writer(rng, arrives=i) for i in range(5)]
    victim = writers[2]
    victim.prompt = [poison if i == at else 3 for i in range(20)]
    victim.count = 5
    write(writers, slots=3)
    assert isinstance(victim.error, Exception)
    assert victim.tokens == []
    for writer in writers:
        if writer is not victim:
            assert writer.said() == alone(writer)


def test_log_probs_are_those_at_temperature_one_with_the_likeliest_beside() -> None:
    writers = [
        Writer([1, 2, 3], 4, np.full(4, 0.9), Sampling(temperature=t, top_k=k, top_logprobs=n))
        for t, k, n in [(0, 0, 5), (1, 0, 3), (2.0, 2, 0)]
    ]
    write(writers)
    empty = {i.name: np.zeros((1, 1, CONTEXT, 16), np.float32) for i in SESSION.get_inputs() if "past" in i.name}
    feed = {"seqlens_k": np.array([2], np.int32), "total_sequence_length": np.array(3, np.int32)}
    logits = SESSION.run(["logits"], {"input_ids": np.array([[1, 2, 3]]), **feed, **empty})[0]
    expected = log_softmax(logits)[0]
    for writer, n in zip(writers, (5, 3, 0), strict=True):
        first = writer.tokens[0]
        assert first.log_prob == pytest.approx(expected[first.id], abs=1e-5)
        assert [token for token, _ in first.top] == np.argsort(-expected, kind="stable")[:n].tolist()
        assert [v for _, v in first.top] == pytest.approx(np.sort(expected)[::-1][:n].tolist(), abs=1e-5)
    assert writers[0].tokens[0].id == expected.argmax()


def test_the_buffers_have_a_slot_for_every_sequence() -> None:
    layers, sides, heads, width, float32, company = 2, 2, 1, 16, 4, 1
    assert (
        SequenceRunner(SESSION, 4, CONTEXT).bytes == layers * sides * (4 + company) * heads * CONTEXT * width * float32
    )


def test_warming_leaves_no_trace() -> None:
    writer = random_writer(np.random.default_rng(8))
    runner = SequenceRunner(SESSION, 2, CONTEXT)
    runner.warm()
    lane = Lane("text", "next", 2, 2, 64)
    scheduler = Scheduler()
    scheduler.add(Work(writer, TokenCall(np.array(writer.prompt), writer.uniform[0], writer.sampling), lane))
    batch = scheduler.next_batch()
    assert batch is not None
    (token,) = runner.run(batch)
    assert isinstance(token, Token)
    assert (token.id, token.log_prob) == alone(writer)[0]
