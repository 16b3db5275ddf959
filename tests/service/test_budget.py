"""The catalog with a memory budget: what is asked for is there, and what was used longest ago makes room for it."""

import gc
import shutil
import threading
import weakref
from pathlib import Path

import pytest

from service.catalog import Catalog
from service.errors import NotReady
from service.loading import load_model
from service.model import LoadedModel
from service.settings import Settings
from tests.service.test_catalog import entry_of, look_twice
from tests.toys import directories
from tests.toys.broken import BROKEN

ONE, TWO, THREE = "toy-one", "toy-two", "toy-three"
PADDING = 150_000
"""Bytes of a file beside the toys', so that two of them fit into 1 MiB and three do not."""


def write(store: Path, name: str, padding: int = PADDING) -> Path:
    directory = directories.write_table(store, name)
    with open(directory / "notes.bin", "wb") as file:
        file.truncate(padding)
    return directory


def catalog_of(store: Path, **options) -> Catalog:
    return Catalog(Settings(models=store, provider="cpu", memory_mb=1, default_score=TWO), "cpu", **options)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for name in (ONE, TWO, THREE):
        write(tmp_path, name)
    return tmp_path


@pytest.fixture
def catalog(store: Path) -> Catalog:
    catalog = catalog_of(store)
    catalog.refresh(settled=True)
    return catalog


def states(catalog: Catalog) -> dict[str, str]:
    return {entry.name: entry.state for entry in catalog.entries()}


def ask(catalog: Catalog, name: str) -> LoadedModel:
    """What a request does."""
    entry = catalog.find(name, "score")
    return entry.model or catalog.reload(entry).result(20)


def test_the_default_is_loaded_first_and_what_does_not_fit_rests(catalog: Catalog) -> None:
    assert states(catalog) == {ONE: "ready", TWO: "ready", THREE: "unloaded"}
    assert catalog.ready()
    assert {e.name for e in catalog.current()} == {ONE, TWO, THREE}, "all can be asked for"


def test_the_one_used_longest_ago_makes_room(catalog: Catalog) -> None:
    for name in (ONE, THREE, TWO):
        ask(catalog, name)
    assert states(catalog) == {ONE: "unloaded", TWO: "ready", THREE: "ready"}
    ask(catalog, THREE)
    model = ask(catalog, ONE)
    assert model.id == ONE
    assert states(catalog) == {ONE: "ready", TWO: "unloaded", THREE: "ready"}


def test_an_unloaded_model_is_still_known_and_gone_from_memory(catalog: Catalog) -> None:
    first = weakref.ref(ask(catalog, ONE))
    for name in (TWO, THREE):
        ask(catalog, name)
    gc.collect()
    assert first() is None
    card = entry_of(catalog, ONE).card
    assert card is not None
    assert (card.id, card.tasks) == (ONE, ("embed", "score"))
    assert catalog.default("score") == TWO


def test_a_model_that_is_in_use_stays_whole_for_its_user(catalog: Catalog) -> None:
    model = ask(catalog, ONE)
    for name in (TWO, THREE):
        ask(catalog, name)
    assert states(catalog)[ONE] == "unloaded"
    assert set(model.runners) == {"log_density", "encode"}
    again = ask(catalog, ONE)
    assert again is not model
    assert (again.content, again.key == model.key) == (model.content, False)


def test_many_who_ask_share_one_load(store: Path) -> None:
    loads: list[str] = []
    slow = threading.Event()

    def load(directory: Path, *rest):
        loads.append(directory.parent.name)
        assert len(loads) <= 3 or slow.wait(10)
        return load_model(directory, *rest)

    catalog = catalog_of(store, load=load)
    catalog.refresh(settled=True)
    (rests,) = [entry for entry in catalog.entries() if entry.state == "unloaded"]
    futures = [catalog.reload(catalog.find(rests.name)) for _ in range(5)]
    slow.set()
    assert len({id(future.result(20)) for future in futures}) == 1
    assert loads[3:] == [rests.name]


def test_a_model_larger_than_the_budget_is_refused_and_says_what_to_do(store: Path) -> None:
    write(store, "toy-giant", 3 * 2**20)
    write(store, "toy-large", 2**20 // 2)
    catalog = catalog_of(store)
    catalog.refresh(settled=True)
    for name in ("toy-giant", "toy-large"):
        assert states(catalog)[name] == "refused"
        problem = str(entry_of(catalog, name).problem)
        for part in ("at most 1 MiB", "about", "AMOSTRA_MEMORY_MB"):
            assert part in problem
    assert catalog.ready()


def test_what_is_dropped_in_takes_nobody_s_place_until_it_is_asked_for(store: Path, catalog: Catalog) -> None:
    before = states(catalog)
    write(store, "toy-new")
    look_twice(catalog)
    assert states(catalog) == {**before, "toy-new": "unloaded"}
    ask(catalog, "toy-new")
    assert states(catalog)["toy-new"] == "ready"
    assert sorted(states(catalog).values()) == ["ready", "ready", "unloaded", "unloaded"]


def test_what_became_bad_while_it_rested_is_refused_to_who_asks(store: Path, catalog: Catalog) -> None:
    (rests,) = [entry for entry in catalog.entries() if entry.state == "unloaded"]
    BROKEN["no manifest"].spoil(store / rests.name / "1")
    with pytest.raises(NotReady, match="was refused"):
        ask(catalog, rests.name)
    assert states(catalog)[rests.name] == "refused"
    write(store, rests.name)
    look_twice(catalog)
    assert ask(catalog, rests.name).id == rests.name


def test_content_that_became_bad_while_it_serves_is_not_unloaded(store: Path, catalog: Catalog) -> None:
    ask(catalog, ONE)
    ask(catalog, TWO)
    BROKEN["no manifest"].spoil(store / ONE / "1")
    look_twice(catalog)
    ask(catalog, THREE)
    assert states(catalog) == {ONE: "refused", TWO: "unloaded", THREE: "ready"}
    assert ask(catalog, ONE).id == ONE


def test_a_model_that_is_removed_while_it_rests_is_gone(store: Path, catalog: Catalog) -> None:
    (rests,) = [entry for entry in catalog.entries() if entry.state == "unloaded"]
    shutil.rmtree(store / rests.name)
    look_twice(catalog)
    assert rests.name not in states(catalog)


def test_every_unloading_is_told(store: Path) -> None:
    told: list[tuple[str, str]] = []
    catalog = catalog_of(store, on_change=lambda entry, present: told.append((entry.name, entry.state)))
    catalog.refresh(settled=True)
    assert told == [(TWO, "ready"), (ONE, "ready"), (THREE, "ready"), (THREE, "unloaded")]
    told.clear()
    for name in (TWO, ONE, THREE):
        ask(catalog, name)
    assert told == [(TWO, "unloaded"), (THREE, "ready")]


def test_without_a_budget_nobody_rests(store: Path) -> None:
    catalog = Catalog(Settings(models=store, provider="cpu"), "cpu")
    catalog.refresh(settled=True)
    assert states(catalog) == dict.fromkeys((ONE, TWO, THREE), "ready")
