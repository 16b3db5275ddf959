"""Memory: those used longest ago go first, and no more of them than needed."""

from service.memory import FACTOR, Memory, bytes_of
from service.model import LoadedModel
from tests.toys.directories import GENERATOR, WRITER

HELD = {"a": 40, "b": 30, "c": 20}


def used(memory: Memory, *keys: str) -> Memory:
    for key in keys:
        memory.use(key)
    return memory


def test_nothing_goes_while_it_fits() -> None:
    assert Memory(100).to_unload(HELD, 10) == []


def test_without_a_budget_everything_fits() -> None:
    assert Memory(None).to_unload(HELD, 10**12) == []


def test_those_used_longest_ago_go_first_and_no_more_than_needed() -> None:
    memory = used(Memory(100), "a", "b", "c", "a")
    assert memory.to_unload(HELD, 11) == ["b"]
    assert memory.to_unload(HELD, 40) == ["b"]
    assert memory.to_unload(HELD, 41) == ["b", "c"]
    assert memory.to_unload(HELD, 100) == ["b", "c", "a"]


def test_one_that_was_never_used_goes_before_all() -> None:
    memory = used(Memory(100), "a", "b")
    assert memory.to_unload(HELD, 20) == ["c"]
    memory.use("c")
    memory.forget("b")
    assert memory.to_unload(HELD, 20) == ["b"]


def test_a_model_s_memory_is_its_files_and_its_buffers(models: dict[str, LoadedModel]) -> None:
    assert bytes_of(models[GENERATOR], 1000) == FACTOR * 1000
    buffers = bytes_of(models[WRITER], 1000) - FACTOR * 1000
    assert buffers == sum(runner.bytes for c, runner in models[WRITER].runners.items() if c == "next_token") > 0
