"""The catalog: what lies in the store is what serves, and what is broken is told without stopping the rest."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.catalog import Catalog
from service.entry import Entry
from service.errors import Invalid, NotFound, NotReady
from service.loading import load_model
from service.model import TASKS
from service.settings import Settings
from tests.eventually import eventually
from tests.toys import directories
from tests.toys.broken import BROKEN, edit_manifest
from tests.toys.directories import (
    BIGRAM,
    DENSITY,
    DETECTOR,
    EMBEDDER,
    GENERATOR,
    SAMPLER,
    TABLE,
    TEXT_EMBEDDER,
    TOYS,
    WRITER,
)

SPOILED = [c for c in BROKEN if BROKEN[c].write is directories.write_generator and c != "link outside"]
"""Ways to spoil the generator; a link to the same file looks, and is, unchanged."""


def catalog_of(store: Path, **options) -> Catalog:
    return Catalog(Settings(models=store, poll_seconds=0.02, provider="cpu"), "cpu", **options)


@pytest.fixture
def catalog(store: Path) -> Catalog:
    """Everything in the store, loaded; not watching."""
    catalog = catalog_of(store)
    catalog.refresh(settled=True)
    return catalog


def look_twice(catalog: Catalog) -> None:
    """What changed must lie still for one look."""
    catalog.refresh()
    catalog.refresh()


def entry_of(catalog: Catalog, name: str, version: str = "1") -> Entry:
    return next(e for e in catalog.entries() if (e.name, e.version) == (name, version))


class TestStart:
    def test_everything_in_the_store_serves(self, catalog: Catalog) -> None:
        assert [(e.name, e.version, e.state, e.problem) for e in catalog.entries()] == [
            (name, "1", "ready", None) for name in sorted(TOYS)
        ]
        assert catalog.ready()

    def test_nothing_is_ready_before_it_was_looked_at(self, store: Path) -> None:
        catalog = catalog_of(store)
        assert not catalog.ready()
        with pytest.raises(NotFound):
            catalog.find(GENERATOR)

    @pytest.mark.parametrize("default", sorted({getattr(Settings(), f"default_{task}") for task in TASKS}))
    def test_ready_needs_every_default_that_the_store_has(self, store: Path, default: str) -> None:
        BROKEN["no manifest"].spoil(store / default / "1")
        catalog = catalog_of(store)
        catalog.refresh(settled=True)
        assert not catalog.ready()
        shutil.rmtree(store / default)
        look_twice(catalog)
        assert catalog.ready()

    def test_one_model_of_one_s_own_is_enough(self, tmp_path: Path) -> None:
        directories.write_table(tmp_path, "mine")
        catalog = catalog_of(tmp_path)
        assert not catalog.ready()
        catalog.refresh(settled=True)
        assert catalog.ready()
        assert catalog.default("score") == "mine"

    def test_a_store_where_nothing_serves_is_not_ready(self, tmp_path: Path) -> None:
        catalog = catalog_of(tmp_path)
        catalog.refresh(settled=True)
        assert not catalog.ready()
        BROKEN["no manifest"].spoil(directories.write_table(tmp_path, "mine"))
        look_twice(catalog)
        assert entry_of(catalog, "mine").state == "refused"
        assert not catalog.ready()

    def test_ready_waits_for_all_that_was_found_first(self, store: Path) -> None:
        ready = []

        def load(directory: Path, *rest):
            ready.append(catalog.ready())
            return load_model(directory, *rest)

        catalog = catalog_of(store, load=load)
        catalog.refresh(settled=True)
        assert ready == [False] * len(TOYS)
        assert catalog.ready()

    def test_ready_needs_a_default_that_can_do_its_task(self, store: Path) -> None:
        catalog = Catalog(Settings(models=store, default_generate=TABLE, provider="cpu"), "cpu")
        catalog.refresh(settled=True)
        assert not catalog.ready()

    def test_a_store_that_is_not_there_is_an_empty_one(self, tmp_path: Path) -> None:
        catalog = catalog_of(tmp_path / "nowhere")
        look_twice(catalog)
        assert catalog.entries() == []

    def test_files_and_hidden_directories_are_no_models(self, store: Path) -> None:
        (store / "README.md").write_text("hello")
        (store / GENERATOR / "notes.txt").write_text("hello")
        shutil.copytree(store / GENERATOR / "1", store / ".incoming" / "1")
        shutil.copytree(store / GENERATOR / "1", store / GENERATOR / ".2")
        catalog = catalog_of(store)
        catalog.refresh(settled=True)
        assert len(catalog.entries()) == len(TOYS)


class TestLoading:
    def test_a_model_that_is_being_loaded_is_not_ready_and_says_so(self, store: Path) -> None:
        slow = threading.Event()

        def load(directory: Path, *rest):
            assert directory.parent.name != WRITER or slow.wait(10)
            return load_model(directory, *rest)

        catalog = catalog_of(store, load=load)
        catalog.start()
        try:
            eventually(lambda: len(catalog.entries()) == len(TOYS))
            with pytest.raises(NotReady, match="is being loaded: try again") as caught:
                catalog.find(WRITER, "complete")
            assert caught.value.retry_after is not None
            assert not catalog.ready()
            slow.set()
            eventually(catalog.ready)
        finally:
            slow.set()
            catalog.stop()

    def test_the_former_content_serves_while_the_new_is_loaded(self, store: Path) -> None:
        seen: list[str] = []

        def load(directory: Path, *rest):
            if directory.parent.name == GENERATOR and catalog.entries():
                seen.append(catalog.find(GENERATOR).model.key if before else "")
            return load_model(directory, *rest)

        before = None
        catalog = catalog_of(store, load=load)
        catalog.refresh(settled=True)
        before = catalog.find(GENERATOR).model
        seen.clear()
        directories.write_generator(store, seed=5)
        look_twice(catalog)
        assert seen == [before.key]
        assert catalog.find(GENERATOR).model.key != before.key


class TestRefusal:
    @pytest.mark.parametrize("case", BROKEN)
    def test_a_broken_model_is_refused_by_name_while_the_others_serve(self, store: Path, case: str) -> None:
        breakage = BROKEN[case]
        directory = breakage.write(store, version="7")
        breakage.spoil(directory)
        catalog = catalog_of(store)
        catalog.refresh(settled=True)
        name = directory.parent.name
        broken = entry_of(catalog, name, "7")
        assert (broken.state, broken.model) == ("refused", None)
        assert broken.problem is not None
        for part in breakage.says:
            assert part in broken.problem
        assert catalog.ready()
        assert [e.name for e in catalog.current()] == sorted(TOYS)
        assert catalog.find(name).model.version == "1"
        with pytest.raises(NotReady, match="was refused"):
            catalog.find(f"{name}@7")

    def test_a_loader_s_surprise_is_one_model_s_alone(self, store: Path) -> None:
        def load(directory: Path, *rest):
            if directory.parent.name == DENSITY:
                raise RecursionError("out of stack")
            return load_model(directory, *rest)

        catalog = catalog_of(store, load=load)
        catalog.refresh(settled=True)
        assert "RecursionError" in str(entry_of(catalog, DENSITY).problem)
        assert len(catalog.current()) == len(TOYS) - 1


class TestChanges:
    def test_a_model_that_is_dropped_in_serves_after_it_lay_still(self, store: Path, catalog: Catalog) -> None:
        directories.write_generator(store, "newcomer")
        catalog.refresh()
        with pytest.raises(NotFound):
            catalog.find("newcomer")
        catalog.refresh()
        assert catalog.find("newcomer", "generate").model.id == "newcomer"

    def test_a_slow_copy_is_not_read_half_way(self, store: Path, catalog: Catalog, tmp_path: Path) -> None:
        source = directories.write_writer(tmp_path / "elsewhere", "newcomer")
        target = store / "newcomer" / "1"
        target.mkdir(parents=True)
        told = []
        catalog._on_change = lambda entry, present: told.append(entry)
        for path in sorted(source.iterdir()):
            shutil.copy(path, target)
            catalog.refresh()
        assert told == []
        catalog.refresh()
        assert [(e.name, e.state) for e in told] == [("newcomer", "ready")]

    def test_what_did_not_change_is_not_loaded_again(self, catalog: Catalog) -> None:
        before = {e.name: e.model for e in catalog.entries()}
        for _ in range(3):
            look_twice(catalog)
        assert {e.name: e.model for e in catalog.entries()} == before

    def test_new_content_takes_over(self, store: Path, catalog: Catalog) -> None:
        before = catalog.find(GENERATOR).model
        directories.write_generator(store, seed=5)
        look_twice(catalog)
        after = catalog.find(GENERATOR).model
        assert after.key != before.key
        assert after.manifest.capabilities != before.manifest.capabilities

    @pytest.mark.parametrize("case", SPOILED)
    def test_bad_content_leaves_the_former_serving_and_says_so(self, store: Path, catalog: Catalog, case: str) -> None:
        before = catalog.find(GENERATOR).model
        BROKEN[case].spoil(store / GENERATOR / "1")
        look_twice(catalog)
        assert catalog.find(GENERATOR).model is before
        entry = entry_of(catalog, GENERATOR)
        assert entry.state == "refused"
        assert entry.problem
        assert catalog.ready()

    def test_a_loader_s_surprise_leaves_the_former_serving_too(self, store: Path) -> None:
        broken = False

        def load(*arguments):
            if broken:
                raise RecursionError("out of stack")
            return load_model(*arguments)

        catalog = catalog_of(store, load=load)
        catalog.refresh(settled=True)
        before, broken = catalog.find(GENERATOR).model, True
        directories.write_generator(store, seed=5)
        look_twice(catalog)
        assert catalog.find(GENERATOR).model is before
        assert "RecursionError" in str(entry_of(catalog, GENERATOR).problem)

    def test_a_repaired_model_serves(self, store: Path, catalog: Catalog) -> None:
        edit_manifest(store / GENERATOR / "1", lambda manifest: manifest.update(flavour="sweet"))
        look_twice(catalog)
        edit_manifest(store / GENERATOR / "1", lambda manifest: manifest.pop("flavour"))
        look_twice(catalog)
        assert (entry_of(catalog, GENERATOR).state, entry_of(catalog, GENERATOR).problem) == ("ready", None)

    def test_a_change_that_keeps_size_and_time_is_seen(self, store: Path, catalog: Catalog) -> None:
        before = catalog.find(GENERATOR).model
        path = store / GENERATOR / "1" / "manifest.json"
        stat = path.stat()
        other = path.with_suffix(".new")
        other.write_text(path.read_text().replace("A toy", "a toy"))
        os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        other.replace(path)
        look_twice(catalog)
        assert catalog.find(GENERATOR).model is not before

    def test_a_removed_model_is_gone(self, store: Path, catalog: Catalog) -> None:
        shutil.rmtree(store / TABLE)
        look_twice(catalog)
        with pytest.raises(NotFound, match=TABLE):
            catalog.find(TABLE)
        assert TABLE not in {e.name for e in catalog.entries()}

    def test_a_model_that_is_replaced_by_renaming_is_never_gone(self, store: Path, catalog: Catalog) -> None:
        (store / TABLE).rename(store / ".old")
        catalog.refresh()
        assert catalog.find(TABLE).model
        (store / ".old").rename(store / TABLE)
        look_twice(catalog)
        assert catalog.find(TABLE).model

    def test_every_change_is_told(self, store: Path) -> None:
        told: list[tuple[str, str, bool]] = []
        catalog = catalog_of(store, on_change=lambda entry, present: told.append((entry.name, entry.state, present)))
        catalog.refresh(settled=True)
        assert sorted(told) == [(name, "ready", True) for name in sorted(TOYS)]
        defaults = {getattr(Settings(), f"default_{task}") for task in TASKS}
        first = [name in defaults for name, _, _ in told]
        assert first == sorted(first, reverse=True), "default models are loaded first"
        told.clear()
        edit_manifest(store / TABLE / "1", lambda manifest: manifest.update(flavour="sweet"))
        look_twice(catalog)
        shutil.rmtree(store / TABLE)
        look_twice(catalog)
        assert told == [(TABLE, "refused", True), (TABLE, "refused", False)]


class TestNames:
    def test_the_highest_version_that_is_loaded_serves(self, store: Path, catalog: Catalog) -> None:
        for version in ("1.9", "1.10", "1.10.2"):
            directories.write_generator(store, version=version)
        look_twice(catalog)
        assert catalog.find(GENERATOR).model.version == "1.10.2"
        assert catalog.find(f"{GENERATOR}@1.9").model.version == "1.9"
        shutil.rmtree(store / GENERATOR / "1.10.2")
        look_twice(catalog)
        assert catalog.find(GENERATOR).model.version == "1.10"
        assert [e.version for e in catalog.entries() if e.name == GENERATOR] == ["1", "1.9", "1.10"]
        assert [e.version for e in catalog.current() if e.name == GENERATOR] == ["1.10"]

    def test_a_name_that_was_asked_for_before_means_what_the_store_has_now(self, store: Path, catalog: Catalog) -> None:
        def found() -> list[str]:
            return [catalog.find(GENERATOR, task).version for task in (None, "generate")]

        assert found() == ["1", "1"]
        directories.write_generator(store, version="2")
        look_twice(catalog)
        assert found() == ["2", "2"]
        catalog._refuse(catalog.find(GENERATOR).model.key, "hung")
        assert found() == ["1", "1"]
        shutil.rmtree(store / GENERATOR)
        look_twice(catalog)
        for task in (None, "generate"):
            with pytest.raises(NotFound):
                catalog.find(GENERATOR, task)

    @pytest.mark.parametrize("name", ["nobody", "", "@", f"{GENERATOR}@9", f"{GENERATOR}@1@1", GENERATOR.upper()])
    def test_an_unknown_name_is_told_what_there_is(self, catalog: Catalog, name: str) -> None:
        with pytest.raises(NotFound) as caught:
            catalog.find(name)
        assert caught.value.field == "model"
        assert GENERATOR in caught.value.detail

    def test_an_at_without_a_version_means_the_name(self, catalog: Catalog) -> None:
        assert catalog.find(f"{GENERATOR}@1").model.id == GENERATOR

    @pytest.mark.parametrize("task", ["generate", "denoise", "complete"])
    def test_a_task_that_a_model_cannot_do_names_those_that_can(self, catalog: Catalog, task: str) -> None:
        with pytest.raises(Invalid, match=f"cannot {task}; models that can: .*{catalog.default(task)}"):
            catalog.find(TABLE, task)


class TestDefaults:
    def test_they_are_settings(self, store: Path) -> None:
        catalog = Catalog(Settings(models=store, default_score=TABLE, provider="cpu"), "cpu")
        catalog.refresh(settled=True)
        assert [catalog.default(task) for task in ("score", "generate", "embed")] == [TABLE, GENERATOR, EMBEDDER]

    def test_without_the_setting_s_model_the_first_by_name_that_can(self, store: Path, catalog: Catalog) -> None:
        for name in (GENERATOR, WRITER, EMBEDDER, SAMPLER):
            shutil.rmtree(store / name)
        directories.write_bigram(store, "zebra")
        look_twice(catalog)
        assert catalog.default("complete") == BIGRAM
        assert catalog.default("embed") == TABLE
        assert catalog.default("generate") == min(e.name for e in catalog.current() if "generate" in e.model.tasks)
        directories.write_writer(store)
        look_twice(catalog)
        assert catalog.default("complete") == WRITER

    def test_a_default_that_was_refused_is_not_silently_replaced(self, store: Path) -> None:
        BROKEN["wrong hash"].spoil(store / GENERATOR / "1")
        catalog = catalog_of(store)
        catalog.refresh(settled=True)
        with pytest.raises(NotReady, match="was refused"):
            catalog.find(catalog.default("generate"), "generate")

    def test_those_of_a_kind_of_data(self, catalog: Catalog) -> None:
        assert catalog.default("score", "text") == WRITER
        assert catalog.default("embed", "text") == TEXT_EMBEDDER
        assert catalog.default("score", "image") == DETECTOR
        assert catalog.default("score", "vector") == TABLE

    def test_a_default_of_another_task_goes_before_the_first_by_name(self, store: Path, catalog: Catalog) -> None:
        directories.write_writer(store, "aardvark")
        look_twice(catalog)
        assert catalog.default("score", "text") == WRITER

    def test_a_task_that_nothing_can_do_is_named(self, tmp_path: Path) -> None:
        directories.write_table(tmp_path)
        catalog = catalog_of(tmp_path)
        with pytest.raises(NotReady, match="none that can complete is loaded yet: try again"):
            catalog.default("complete")
        catalog.refresh(settled=True)
        with pytest.raises(NotFound, match="no model in the store can complete"):
            catalog.default("complete")
        with pytest.raises(NotFound, match="no model in the store can embed text"):
            catalog.default("embed", "text")


@pytest.fixture
def watching(store: Path) -> Iterator[Catalog]:
    catalog = catalog_of(store)
    catalog.start()
    yield catalog
    catalog.stop()


def test_watching(watching: Catalog, store: Path) -> None:
    eventually(watching.ready)
    directories.write_generator(store, "newcomer")
    eventually(lambda: "newcomer" in {e.name for e in watching.current()})
    shutil.rmtree(store / "newcomer")
    eventually(lambda: "newcomer" not in {e.name for e in watching.entries()})
    assert watching.ready()


def test_the_watch_outlives_a_store_that_goes_and_comes_back(watching: Catalog, store: Path, tmp_path: Path) -> None:
    """A mount that fails: what is in memory serves on, and what changed meanwhile is seen."""
    eventually(watching.ready)
    before = [(e.name, e.state) for e in watching.entries()]
    store.rename(tmp_path / "away")
    time.sleep(0.1)  # some looks
    assert [(e.name, e.state) for e in watching.entries()] == before
    assert watching.ready()
    shutil.rmtree(tmp_path / "away" / GENERATOR)
    (tmp_path / "away").rename(store)
    eventually(lambda: GENERATOR not in {e.name for e in watching.entries()})
