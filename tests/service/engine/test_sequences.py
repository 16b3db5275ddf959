"""The runner of sequences: what one writes does not depend on who writes beside it, comes or leaves."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from contract.kernels import choose_kernels
from service.engine import sequences
from service.engine.batch import BACKGROUND, INTERACTIVE, Batch, Lane, Work
from service.engine.job import Sampling, SequenceCall, Token
from service.engine.scheduler import Scheduler
from service.engine.sequences import Progress, SequenceRunner
from service.samplers.tokens import log_softmax
from tests.toys import graphs

VOCABULARY, CONTEXT = 19, 32
POISON = 17
"""The toy's embedding of this token is no number; it never chooses it itself."""
UNKNOWN = VOCABULARY
"""A token without an embedding: the runtime refuses the whole batch that it is in."""


def language() -> graphs.Language:
    language = graphs.Language(VOCABULARY, CONTEXT, choices=POISON)
    language.embedding[POISON] = np.nan
    return language


def session(parts: graphs.Parts, threads: int = 1) -> ort.InferenceSession:
    choose_kernels()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return ort.InferenceSession(parts[0].SerializeToString(), options, providers=["CPUExecutionProvider"])


SESSION = session(graphs.next_token(language()))
BIGRAM = session(graphs.bigram(VOCABULARY))
"""It has no keys and values."""


@dataclass(eq=False)
class Writer:
    """A sequence of `count` tokens; the nth is `given[n]` where there is one, and it leaves before its `leaves`th turn."""

    prompt: Sequence[int]
    count: int
    uniform: np.ndarray
    sampling: Sampling = field(default_factory=lambda: Sampling(logprobs=0))
    arrives: int = 0
    leaves: int | None = None
    priority: int = INTERACTIVE
    given: dict[int, int] = field(default_factory=dict)
    end_token: int | None = None
    enough: int | None = None
    tokens: list[Token] = field(default_factory=list)
    ids: list[int] | None = None
    error: Exception | None = None

    def call(self) -> SequenceCall:
        given = np.full(self.count, -1)
        for n, token in self.given.items():
            given[n] = token
        return SequenceCall(
            np.array(self.prompt, np.int64),
            self.uniform[: self.count],
            self.sampling,
            given=given if self.given else None,
            end_token=self.end_token,
            listen=self.listen,
        )

    def listen(self, token: Token) -> bool:
        self.tokens.append(token)
        return len(self.tokens) == self.enough

    def said(self) -> list[tuple[int, float]]:
        return [(token.id, token.log_prob) for token in self.tokens]


class Silent(Writer):
    """One that does not listen."""

    def call(self) -> SequenceCall:
        return replace(super().call(), listen=None)


def write(
    writers: Sequence[Writer],
    slots: int = 4,
    chunk: int = 8,
    graph: ort.InferenceSession = SESSION,
    go_on: Callable[[], bool] = lambda: False,
    kind: type[SequenceRunner] = SequenceRunner,
    **options: Any,
) -> SequenceRunner:
    """Run all writers to their ends on one runner, through the scheduler."""
    runner = kind(graph, slots, CONTEXT, chunk=chunk, **{"company": True, **options})
    scheduler = Scheduler()
    lane = Lane("text", "next", slots, slots)
    for turn in range(10_000):
        for writer in writers:
            if writer.arrives == turn:
                scheduler.add(Work(writer, writer.call(), lane, writer.priority))
            if writer.leaves == turn:
                scheduler.discard(writer, lane)
        batch = scheduler.next_batch()
        if batch is None:
            if all(writer.arrives < turn for writer in writers):
                return runner
            continue
        progress = runner.run(batch, go_on)
        if progress.prompt_done:
            assert batch.prompt is not None
            scheduler.prompt_done(batch.prompt)
        for work, answer in progress.ended:
            scheduler.ended(work)
            if isinstance(answer, Exception):
                work.owner.error = answer
            else:
                work.owner.ids = answer.tolist()
        scheduler.finish(batch, 1.0)
    raise AssertionError("the writers never came to an end")


def random_writer(rng: np.random.Generator, **fields: object) -> Writer:
    length = int(rng.integers(1, 20))
    sampling = Sampling(
        temperature=float(rng.choice([0, 0.7, 1, 1.5])),
        top_p=float(rng.choice([0.5, 0.9, 1])),
        top_k=int(rng.choice([0, 3])),
        logprobs=0,
    )
    prompt = rng.integers(0, POISON, length).tolist()
    return Writer(prompt, int(rng.integers(1, CONTEXT - length + 1)), rng.random(CONTEXT), sampling, **fields)


def copy(writer: Writer) -> Writer:
    return Writer(writer.prompt, writer.count, writer.uniform, writer.sampling, given=writer.given)


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
        priority = int(rng.choice([INTERACTIVE, BACKGROUND]))  # those of the background rest now and then
        writers.append(random_writer(rng, arrives=arrives, leaves=leaves, priority=priority))
    write(writers, slots=int(rng.choice([1, 2, 5, 8])), graph=graph)
    for writer in writers:
        expected = alone(writer, graph)
        assert writer.said() == expected[: len(writer.tokens)]
        if writer.leaves is None:
            assert writer.ids == [token.id for token in writer.tokens]
            assert len(writer.ids) == writer.count


def test_rows_that_depend_on_their_batch_take_their_steps_alone() -> None:
    parts = graphs.next_token(language())
    graphs.times_rows(parts[0])
    graph = session(parts)

    def said(writers: Sequence[Writer], *, together: bool) -> list[list[tuple[int, float]]]:
        twins = [copy(writer) for writer in writers]
        write(twins, graph=graph, company=False, reuse=False, together=together)
        return [twin.said() for twin in twins]

    writers = [random_writer(np.random.default_rng(seed)) for seed in range(12)]
    expected = [lonely for writer in writers for lonely in said([writer], together=False)]
    assert said(writers, together=False) == expected
    assert said(writers, together=True) != expected


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
        ids.append(chosen[-1])
    return chosen


def test_greedy_text_is_that_of_the_slow_reference() -> None:
    rng = np.random.default_rng(3)
    writers = [random_writer(rng, arrives=i) for i in range(8)]
    for writer in writers:
        writer.sampling = Sampling(temperature=0, logprobs=0)
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
        fed = [writer.prompt[-1], *(token.id for token in writer.tokens)]
        assert [token.log_prob for token in writer.tokens] == pytest.approx(
            [table[before, token.id] for before, token in zip(fed, writer.tokens, strict=False)]
        )
        assert len(writer.tokens) == writer.count


def test_a_bigram_s_row_that_raises_fails_alone() -> None:
    rng = np.random.default_rng(10)
    writers = [random_writer(rng) for _ in range(3)]
    for writer in writers:
        writer.count = 12
    writers[1].given = {4: UNKNOWN}
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
    victim.given = {4: poison}
    write(writers)
    assert isinstance(victim.error, Exception)
    assert victim.ids is None
    assert len(victim.tokens) == 5
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
        Writer([1, 2, 3], 4, np.full(4, 0.9), Sampling(temperature=t, top_k=k, logprobs=n))
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
    layers, sides, heads, width, float32 = 2, 2, 1, 16, 4
    for company in (False, True):
        runner = SequenceRunner(SESSION, 4, CONTEXT, company=company)
        assert runner.bytes == layers * sides * (4 + company) * heads * CONTEXT * width * float32


def test_warming_leaves_no_trace() -> None:
    writer = random_writer(np.random.default_rng(8))
    runner = SequenceRunner(SESSION, 2, CONTEXT, company=True)
    runner.warm()
    scheduler = Scheduler()
    scheduler.add(Work(writer, writer.call(), Lane("text", "next", 2, 2)))
    for _ in range(3):
        batch = scheduler.next_batch()
        assert batch is not None
        runner.run(batch)
        scheduler.finish(batch, 1.0)
        if writer.tokens:
            break
    assert writer.said()[0] == alone(writer)[0]


@pytest.mark.parametrize("stretch", [1, 3, 32])
@pytest.mark.parametrize("stops", [0.0, 0.3])
def test_several_steps_at_a_time_write_the_same(stretch: int, stops: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(11)
    writers = [random_writer(rng, arrives=i) for i in range(12)]
    expected = [alone(writer) for writer in writers]
    monkeypatch.setattr(sequences, "_STRETCH", stretch)
    write(writers, go_on=lambda: rng.random() >= stops)
    for writer, said in zip(writers, expected, strict=True):
        assert writer.said() == said
        assert writer.ids == [token for token, _ in said]


def test_what_nobody_listens_to_is_the_same_text() -> None:
    """Greedy, sampled and given tokens, an end token here and there, in stretches."""
    rng = np.random.default_rng(12)
    heard = [random_writer(rng, arrives=i) for i in range(12)]
    for i, writer in enumerate(heard):
        writer.given = {2: 5} if i % 3 == 0 else {}
        writer.end_token = 4 if i % 2 else None
    silent = [
        Silent(w.prompt, w.count, w.uniform, w.sampling, w.arrives, given=w.given, end_token=w.end_token) for w in heard
    ]
    write(heard, go_on=lambda: True)
    write(silent, go_on=lambda: True)
    assert [writer.ids for writer in silent] == [writer.ids for writer in heard]
    assert any(len(writer.ids or []) < writer.count for writer in silent), "an end token was written"


class TestEnds:
    def test_at_the_end_token_which_is_written(self) -> None:
        free = Writer([1, 2, 3], 20, np.linspace(0.1, 0.9, 20))
        write([free])
        end = free.tokens[7].id
        first = [token.id for token in free.tokens].index(end)
        ended = copy(free)
        ended.end_token = end
        write([ended])
        assert ended.ids == [token.id for token in free.tokens[: first + 1]]

    def test_where_a_listener_has_enough(self) -> None:
        content = Writer([1, 2, 3], 20, np.linspace(0.1, 0.9, 20), enough=5)
        other = Writer([1, 2, 3], 20, np.linspace(0.1, 0.9, 20))
        write([content, other])
        assert content.ids == other.ids[:5]

    def test_with_a_listener_s_error_and_nobody_else_s(self) -> None:
        class Faulty(Writer):
            def listen(self, token: Token) -> bool:
                super().listen(token)
                if len(self.tokens) == 4:
                    raise LookupError("no such word")
                return False

        rng = np.random.default_rng(12)
        faulty = Faulty([1, 2], 9, rng.random(9))
        others = [random_writer(rng) for _ in range(2)]
        write([others[0], faulty, others[1]])
        assert isinstance(faulty.error, LookupError)
        assert len(faulty.tokens) == 4
        assert [writer.said() for writer in others] == [alone(writer) for writer in others]

    def test_tokens_that_are_given_are_not_chosen(self) -> None:
        free = Writer([1, 2, 3], 12, np.linspace(0.1, 0.9, 12))
        write([free])
        ids = [token.id for token in free.tokens]
        told = Writer([1, 2, 3], 12, np.linspace(0.1, 0.9, 12), given={n: ids[n] for n in (0, 3, 4, 8)})
        write([told])
        assert told.ids == ids
        other = Writer([1, 2, 3], 12, np.linspace(0.1, 0.9, 12), given={3: (ids[3] + 1) % POISON})
        write([other])
        assert other.ids[:4] == [*ids[:3], (ids[3] + 1) % POISON]


class Counted:
    """A session that counts its runs on bound memory, and the prompt tokens that it computes."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.runs = self.tokens = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def io_binding(self) -> ort.IOBinding:
        binding = self._session.io_binding()
        bind = binding.bind_cpu_input

        def counted(name: str, array: np.ndarray) -> None:
            self.tokens += array.size if name == "input_ids" else 0
            bind(name, array)

        binding.bind_cpu_input = counted
        return binding

    def run_with_iobinding(self, binding: ort.IOBinding) -> None:
        self.runs += 1
        self._session.run_with_iobinding(binding)


class TestSharedBeginnings:
    """Prompts that begin alike: computed once, and the text is that of a runner that knows no sharing."""

    SYSTEM = [5, 3, 8, 1, 9, 2, 7, 4, 6, 0, 3, 3, 8, 5, 1, 2]

    @pytest.mark.parametrize("company", [False, True])
    @pytest.mark.parametrize("seed", range(6))
    def test_change_no_bit(self, seed: int, company: bool) -> None:
        rng = np.random.default_rng(seed)
        writers = []
        for i in range(25):
            writer = random_writer(rng, arrives=int(rng.integers(0, 80)))
            kept = int(rng.integers(0, len(self.SYSTEM) + 1))
            writer.prompt = [*self.SYSTEM[:kept], *writer.prompt[:6]]
            writer.count = min(writer.count, CONTEXT + 1 - len(writer.prompt))
            if i % 7 == 0:
                writer.leaves = writer.arrives + 3
            writers.append(writer)
        plain = [copy(writer) for writer in writers]
        for writer, twin in zip(writers, plain, strict=True):
            twin.arrives, twin.leaves = writer.arrives, writer.leaves
        write(writers, company=company)
        write(plain, company=company, reuse=False)
        for writer, twin in zip(writers, plain, strict=True):
            if writer.leaves is None:
                assert writer.said() == twin.said()

    @pytest.mark.parametrize("others", [0, 3], ids=["the slot is free again", "and others are at work"])
    def test_are_computed_once(self, others: int) -> None:
        session = Counted(SESSION)
        busy = [Writer([i, 1, i], CONTEXT - 3, np.full(CONTEXT, 0.3)) for i in range(others)]
        first = Writer([*self.SYSTEM, 1, 2, 3], 4, np.full(8, 0.5), arrives=10)
        write([*busy, first], graph=session)
        alone_cost = session.tokens
        session.tokens = 0
        later = [Writer([*self.SYSTEM, n, 2, 3], 4, np.full(8, 0.5), arrives=10 + 8 * n) for n in (1, 2, 3)]
        write([*[copy(writer) for writer in busy], *later], graph=session)
        assert session.tokens == alone_cost + 2 * 3

    def test_completions_of_one_prompt_share_it(self) -> None:
        session = Counted(SESSION)
        prompt = [*self.SYSTEM, 1, 2, 3]
        write([Writer(prompt, 5, np.random.default_rng(i).random(5)) for i in range(4)], graph=session)
        assert session.tokens == len(prompt) + 3 * 2

    def test_what_was_used_longest_ago_makes_room(self) -> None:
        session = Counted(SESSION)
        other = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
        prompts = [self.SYSTEM, [0] * 9, other, self.SYSTEM, [1] * 9, other]
        write([Writer(p, 2, np.full(4, 0.5), arrives=20 * i) for i, p in enumerate(prompts)], slots=3, graph=session)
        assert session.tokens == len(self.SYSTEM) + 9 + 10 + 2 + 9 + 2, "[1] * 9 takes the room of [0] * 9"

    def test_a_broken_sequence_is_no_beginning_for_others(self) -> None:
        victim = Writer(self.SYSTEM, 8, np.full(8, 0.5), given={3: POISON})
        heir = Writer([*self.SYSTEM, *[0] * 4], 4, np.full(8, 0.5), arrives=30)
        write([victim, heir], slots=1)
        assert isinstance(victim.error, Exception)
        assert heir.said() == alone(heir)


def test_a_wide_session_writes_the_same_for_the_lonely() -> None:
    wide: list[Counted] = []

    def widen() -> Counted:
        wide.append(Counted(session(graphs.next_token(language()), threads=2)))
        return wide[0]

    prompts: list[int] = []  # runs of the wide session in each batch
    steps: list[int] = []

    class Patient(SequenceRunner):
        def run(self, batch: Batch, go_on: Callable[[], bool] = lambda: False) -> Progress:
            before = wide[0].runs if wide else 0
            progress = super().run(batch, go_on)
            for thread in threading.enumerate():
                if thread.name == "amostra-widen":
                    thread.join()
            (prompts if batch.prompt else steps).append(wide[0].runs - before)
            return progress

    writers = [Writer([n, 2, 3, n, 4], 25, np.linspace(0, 0.99, 25), arrives=30 * n) for n in range(12)]
    write(writers, kind=Patient, widen=widen, reuse=False)
    assert prompts[1:] == [1] * 11, "the first one has it made"
    assert set(steps) == {0, 1}, "both were tried"
    for writer in writers:
        assert writer.said() == alone(writer)
