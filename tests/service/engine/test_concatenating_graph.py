"""Decoders as Optimum exports them write what the same network writes with caches in place, alone or in a crowd."""

import numpy as np
import pytest

from service.engine.concatenating_graph import BLOCK, ConcatenatingGraph, Concatenation
from service.engine.held_rows import Rows
from tests.service.engine.test_sequences import (
    CONTEXT,
    POISON,
    UNKNOWN,
    VOCABULARY,
    Writer,
    copy,
    language,
    random_writer,
    session,
    write,
)
from tests.toys import graphs, optimum

LANGUAGE = language()
GROWING = session(optimum.next_token(LANGUAGE))
WITHOUT_POSITIONS = session(optimum.next_token(LANGUAGE, positions=False))
ALONE = Concatenation(POISON)
TOGETHER = Concatenation(POISON, together=True, company=True)
"""The toy's matrix products of one row differ in their last bits."""


def grow(writers: list[Writer], slots: int = 5, graph=GROWING, how: Concatenation = ALONE, **options) -> None:
    write(writers, slots, graph=graph, company=False, reuse=False, concatenation=how, **options)


@pytest.mark.parametrize("graph", [GROWING, WITHOUT_POSITIONS], ids=["positions", "none"])
@pytest.mark.parametrize("how", [ALONE, TOGETHER], ids=["alone", "together"])
@pytest.mark.parametrize("several", [False, True], ids=["a step at a time", "several"])
def test_it_writes_what_the_graph_with_caches_in_place_writes(graph, how: Concatenation, several: bool) -> None:
    rng = np.random.default_rng(1)
    writers = [random_writer(rng, arrives=int(rng.integers(0, 30))) for _ in range(16)]
    twins = [copy(writer) for writer in writers]
    grow(writers, graph=graph, how=how, go_on=lambda: several)
    write(twins, slots=5)
    for writer, twin in zip(writers, twins, strict=True):
        assert writer.ids == twin.ids
        assert np.allclose([t.log_prob for t in writer.tokens], [t.log_prob for t in twin.tokens], atol=1e-4)


@pytest.mark.parametrize("how", [ALONE, TOGETHER], ids=["alone", "together"])
@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_changes_no_bit(how: Concatenation, seed: int) -> None:
    rng = np.random.default_rng(seed)
    writers = [random_writer(rng, arrives=int(rng.integers(0, 40)), leaves=None) for _ in range(20)]
    leaving = random_writer(rng, leaves=9)
    grow([*writers, leaving], how=how)
    for writer in writers:
        twin = copy(writer)
        grow([twin], slots=1, how=how)
        assert twin.said() == writer.said()


def test_a_row_that_fails_fails_alone() -> None:
    rng = np.random.default_rng(0)
    sound = [Writer([1, 2, 3], 8, rng.random(CONTEXT)), Writer([4, 5], 9, rng.random(CONTEXT))]
    broken = Writer([6], 9, rng.random(CONTEXT), given={2: UNKNOWN})
    twins = [copy(writer) for writer in sound]
    grow([sound[0], broken, sound[1]], how=TOGETHER)
    assert broken.error is not None
    for writer, twin in zip(sound, twins, strict=True):
        grow([twin], slots=1, how=TOGETHER)
        assert twin.said() == writer.said()


def test_the_logits_that_are_no_tokens_are_never_chosen() -> None:
    """They are the highest of all."""
    writer = Writer([1, 2], 20, np.zeros(CONTEXT))
    grow([writer])
    assert max(writer.ids or []) < POISON
    assert {port.shape[-1] for port in GROWING.get_outputs()[:1]} == {POISON + optimum.PADDED}


@pytest.mark.parametrize("lengths", [[1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK], [5, 5, 5], [99]])
def test_rows_of_any_lengths_get_the_logits_of_the_whole_text(lengths: list[int]) -> None:
    """Also where a row fills its block, and where the places before a token would be more than the context."""
    long = graphs.Language(VOCABULARY, 2 * BLOCK + 3)
    graph = session(optimum.next_token(long))
    rows = Rows(graph, 0, len(lengths), long.context)
    runner = ConcatenatingGraph(graph, rows, Concatenation(VOCABULARY, together=True))
    rng = np.random.default_rng(3)
    texts = [rng.integers(0, VOCABULARY, length).tolist() for length in lengths]
    for row, text in enumerate(texts):
        runner.prompt(row, np.array([text]), len(text))
    for step in range(2):
        ids = rng.integers(0, VOCABULARY, len(texts))
        if step:
            runner.feed(ids)
        else:
            runner.begin_steps(ids, np.array([len(text) for text in texts]), alone=False)
        logits = runner.step()
        for row, text in enumerate(texts):
            text.append(int(ids[row]))
            alone = Rows(graph, 0, 1, long.context)
            expected = ConcatenatingGraph(graph, alone, Concatenation(VOCABULARY)).prompt(
                0, np.array([text]), len(text)
            )
            assert np.allclose(logits[row], expected[0], atol=1e-4)
