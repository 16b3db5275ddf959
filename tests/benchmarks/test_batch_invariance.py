"""docs/batch-invariance.md says what was measured of the graphs that are shipped, and the service keeps its promise by it."""

from pathlib import Path

import numpy as np
import torch

from benchmarks.batch_invariance import measure
from benchmarks.held_out_rows import HeldOut
from benchmarks.invariance_page import PAGE, Difference, Found, kept, of_this, read, renewed, shipped
from contract import Capability, read_manifest
from service.engine.limits import Limits
from service.engine.sizes import BUCKETS
from service.settings import Settings
from tests.toys import directories, graphs
from tests.toys.broken import edit_graph

GRAPHS = [(model, capability) for model in shipped() for capability in model.manifest.capabilities]
AGAIN = "run: python -m benchmarks.batch_invariance"


def test_the_page_is_of_what_was_measured() -> None:
    page = PAGE.read_text("utf-8")
    assert renewed(page) == page, "run: python -m benchmarks.invariance_page"


def test_every_shipped_graph_was_measured_on_a_cpu_and_no_other() -> None:
    record = {graph: found for (provider, graph), found in read().items() if provider == "cpu"}
    assert set(record) == {model.key(capability) for model, capability in GRAPHS}, AGAIN
    stale = [model.key(c) for model, c in GRAPHS if not of_this(model.manifest.capabilities[c], record[model.key(c)])]
    assert stale == [], AGAIN


def test_no_row_differs_in_a_batch_that_the_service_gives_it() -> None:
    record = read()
    graphs = {model.key(c): model.manifest.capabilities[c] for model, c in GRAPHS}
    broken = {key for key, graph in graphs.items() if not kept(graph, record["cpu", key])}
    assert not broken, f"to be exported again: {broken}"


class Items:
    """A few held-out items of a toy."""

    def __init__(self, name: str, values: torch.Tensor) -> None:
        self.name, self.values = name, values

    def __len__(self) -> int:
        return len(self.values)

    def at(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        return {self.name: self.values[indices]}


def found_of(directory: Path, capability: Capability, items: Items) -> Found:
    held_out = HeldOut(read_manifest(directory), items)
    return measure(directory, capability, held_out, Settings(provider="cpu"), "cpu")


def test_rows_that_keep_their_bits_do(tmp_path: Path) -> None:
    images = Items("x", torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    found = found_of(directories.write_detector(tmp_path), Capability.SCORE, images)
    assert found.sizes in (BUCKETS, tuple(size for size in BUCKETS if size <= Limits().rows))  # by its speed
    assert (found.differs, found.said) == ({}, f"no: {found.rows} rows, in batches of 1 to {found.sizes[-1]}")


def test_texts_that_depend_on_their_batch_are_found_out(tmp_path: Path) -> None:
    directory = directories.write_writer(tmp_path)
    edit_graph(directory, "next_token.onnx", graphs.times_rows)
    texts = torch.arange(20 * directories.CONTEXT).view(20, -1) % len(directories.CHARACTERS)
    found = found_of(directory, Capability.NEXT_TOKEN, Items("input_ids", texts))
    assert found.sizes == tuple(range(1, 17))
    assert found.differs["logits"].sizes == found.sizes[:-1]
    assert found.said.startswith("**yes**: `logits` in batches of 1, 2, 3")


def test_a_difference_is_told_of_the_output_that_has_it() -> None:
    narrow, wide = Difference.of({1: 1e-9, 2: 0.0}, np.ones(3)), Difference.of({1: 1.49e-8, 2: 0.0}, np.array([-3.234]))
    found = Found(
        provider="cpu",
        graph="model/1/score",
        sha256="0" * 64,
        sizes=(1, 2),
        rows=2,
        differs={"surprise": narrow | wide},
        pair=1.2,
        strict=1.5,
        on="a machine",
    )
    assert found.said == "**yes**: `surprise` alone, by 1.5e-08 of up to 3.23"
