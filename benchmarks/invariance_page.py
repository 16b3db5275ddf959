"""docs/batch-invariance.md: by graph and execution provider, whether a row's bits depend on its batch, and in what company the
service runs it.

    python -m benchmarks.invariance_page     # writes its table anew, of what was measured

What was measured is in docs/batch-invariance.jsonl, a line for each graph (benchmarks/batch_invariance.py); what the service
does is asked of the service, which knows it by the manifests.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from contract import Capability, Manifest, read_manifest
from contract.manifest import Graph
from service.providers import cpu_sizes, fixed_shapes, runs_on
from service.settings import Settings

ROOT = Path(__file__).parents[1]
PAGE, RECORD = ROOT / "docs" / "batch-invariance.md", ROOT / "docs" / "batch-invariance.jsonl"
BEGIN, END = "<!-- measured:begin -->\n", "<!-- measured:end -->\n"
UNKNOWN = "not measured"
CROWD = 16
"""Rows, of which it is measured how much longer they take one by one."""
PROVIDERS = ("cpu", "cuda")


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Difference(_Frozen):
    """In batches of which sizes an output of a row has other bits, by how much at most, and how large this output gets."""

    sizes: tuple[int, ...]
    apart: float
    values: float

    @classmethod
    def of(cls, worst: Mapping[int, float], values: np.ndarray) -> "Difference":
        """Of the largest difference by size; it has no sizes where there is none."""
        sizes = tuple(size for size, apart in worst.items() if apart)
        return cls(sizes=sizes, apart=max(worst.values()), values=float(np.abs(values).max()))

    def __or__(self, other: "Difference") -> "Difference":
        sizes = tuple(sorted({*self.sizes, *other.sizes}))
        return Difference(sizes=sizes, apart=max(self.apart, other.apart), values=max(self.values, other.values))


class Found(_Frozen):
    """What was measured of a graph: the sizes of batches, how many rows, and the outputs that differ. How many times as long as
    one row a `pair` takes, and as CROWD rows together the same one by one: `strict`."""

    provider: str
    graph: str
    sha256: str
    sizes: tuple[int, ...]
    rows: int
    differs: dict[str, Difference]
    pair: float
    strict: float
    on: str

    @property
    def said(self) -> str:
        """Whether bits depend on the batch, and by how much."""
        if not self.differs:
            return f"no: {self.rows} rows, in batches of 1 to {self.sizes[-1]}"
        parts = []
        for name, found in self.differs.items():
            sizes = "alone" if found.sizes == (1,) else f"in batches of {', '.join(map(str, found.sizes))}"
            parts.append(f"`{name}` {sizes}, by {found.apart:.1e} of up to {found.values:.3g}")
        return f"**yes**: {'; '.join(parts)}"


def read() -> dict[tuple[str, str], Found]:
    """What was measured, by execution provider and graph."""
    lines = RECORD.read_text("utf-8").splitlines() if RECORD.exists() else []
    return {(found.provider, found.graph): found for found in map(Found.model_validate_json, lines)}


def write(found: Found) -> None:
    """Put a graph's measurement in; those of graphs that are no longer shipped go."""
    known = {model.key(capability) for model in shipped() for capability in model.manifest.capabilities}
    record = read() | {(found.provider, found.graph): found}
    lines = [f"{record[key].model_dump_json()}\n" for key in sorted(record) if key[1] in known]
    RECORD.write_text("".join(lines), "utf-8")


@dataclass(frozen=True)
class Shipped:
    """A model of this repository."""

    directory: Path
    manifest: Manifest

    def key(self, capability: Capability) -> str:
        """What one of its graphs is called in the record."""
        return f"{self.manifest.name}/{self.manifest.version}/{capability.value}"


def shipped() -> list[Shipped]:
    found = sorted(path.parent for path in (ROOT / "exported").glob("[!.]*/[!.]*/manifest.json"))
    return [Shipped(directory, read_manifest(directory)) for directory in found]


def kept(graph: Graph, found: Found) -> bool:
    """Whether a row has the same bits in all batches that the service gives it on a CPU."""
    sizes = cpu_sizes(graph)
    return sizes == (1,) or all(size < sizes[0] for output in found.differs.values() for size in output.sizes)


def on_a_cpu(capability: Capability, graph: Graph, found: Found | None) -> str:
    """How the service runs rows there."""
    if found and not kept(graph, found):
        return "together: **the promise is broken**"
    sizes = cpu_sizes(graph)
    if sizes == (1,):
        return "one by one"
    company = "an unused row" if capability is Capability.NEXT_TOKEN else "its copy"
    return "together" if sizes[0] == 1 else f"together, a lone one beside {company}"


def on_cuda(capability: Capability, graph: Graph) -> str:
    """How the service runs rows there."""
    if runs_on(capability, graph, Settings(), "cuda") == "cpu":
        return "on the CPU"
    if capability is Capability.NEXT_TOKEN:
        return "all in every step"
    return "together, in sizes that agree" if fixed_shapes(graph) else "one by one"


def of_this(graph: Graph, found: Found | None) -> Found | None:
    """What was measured, if it was of this very file."""
    return found if found and found.sha256 == graph.sha256 else None


def rows() -> Iterator[tuple[str, ...]]:
    """Model and graph; what was measured on a CPU, how the service runs rows there, and what a pair and one by one cost; the
    same on CUDA."""
    record = read()
    for model in shipped():
        for capability, graph in model.manifest.capabilities.items():
            cpu, cuda = (of_this(graph, record.get((p, model.key(capability)))) for p in PROVIDERS)
            there = runs_on(capability, graph, Settings(), "cuda") == "cuda" and capability is not Capability.NEXT_TOKEN
            yield (
                f"`{model.manifest.name}`",
                f"`{capability.value}`",
                cpu.said if cpu else UNKNOWN,
                on_a_cpu(capability, graph, cpu),
                f"{cpu.pair:.2f} ×" if cpu else UNKNOWN,
                f"{cpu.strict:.2f} ×" if cpu else UNKNOWN,
                (cuda.said if cuda else UNKNOWN) if there else "—",
                on_cuda(capability, graph),
            )


def table() -> str:
    """The table as Markdown, before it how many graphs differ, and behind it what they were measured on."""
    lines = [
        "| model | graph | CPU: other bits in other batches? | rows run there | a pair | one by one "
        "| CUDA: other bits in other batches? | rows run there |",
        "|---|---|---|---|---:|---:|---|---|",
    ]
    body = list(rows())
    lines += [f"| {' | '.join(row)} |" for row in body]
    same = sum(row[2].startswith("no:") for row in body)
    others = ", ".join(f"{row[0]} {row[1]}" for row in body if row[2].startswith("**yes**"))
    counted = (
        f"{same} of {len(body)} graphs give a row the same bits in every batch on a CPU; not so: {others or 'none'}."
    )
    measured = read().values()
    places = {p: sorted({found.on for found in measured if found.provider == p}) or [UNKNOWN] for p in PROVIDERS}
    notes = [f"- {p.upper()}: {place}." for p in PROVIDERS for place in places[p]]
    return "\n".join([counted, "", *lines, "", *notes]) + "\n"


def renewed(page: str) -> str:
    """The page with the table as it is now."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")
