"""Answers of rows that are computed together: thousands in one call of the engine, whatever can share it."""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from jobs.chunks import Answer, Chunk
from jobs.decoding import Decoder, Samples
from jobs.engine import ROW_ERRORS, RowError
from jobs.sieve import sieve
from jobs.tasks.rows import about, refusal

Compute = Callable[[Samples], pa.Table]
"""Makes a row of a table of each sample, none of none. Raises a row's error where one of them cannot be computed."""


def answers(chunks: Iterator[Chunk], decode: Decoder, compute: Compute, nothing: pa.Table) -> Iterator[Answer]:
    """The answers of chunks. `nothing` is what `compute` would make of no sample."""
    for chunk in chunks:
        refused = list(chunk.refused)
        tables, places = [nothing], [np.zeros(0, np.int64)]
        for at, samples in _groups(chunk, decode):
            if isinstance(samples, ROW_ERRORS):
                refused.append(refusal(chunk, int(at[0]), samples))
                continue
            for some, computed in sieve(np.arange(len(at)), _attempt(compute, samples)):
                if isinstance(computed, ROW_ERRORS):
                    refused.append(refusal(chunk, int(at[some[0]]), computed))
                else:
                    tables.append(computed)
                    places.append(at[some])
        yield Answer(_in_order(chunk, tables, np.concatenate(places)), sorted(refused, key=lambda r: r.row))


def _groups(chunk: Chunk, decode: Decoder) -> Iterator[tuple[np.ndarray, Samples | RowError]]:
    """Samples that have one shape, texts of any length among them, and rows that have none."""
    groups: dict[tuple[int, ...] | None, list[tuple[np.ndarray, Samples]]] = {}
    for at, samples in decode(chunk):
        if isinstance(samples, ROW_ERRORS):
            yield at, samples
        else:
            shape = None if isinstance(samples, list) else samples.shape[1:]
            groups.setdefault(shape, []).append((at, samples))
    for shape, parts in groups.items():
        at = np.concatenate([at for at, _ in parts])
        if shape is None:
            yield at, [sample for _, samples in parts for sample in samples]
        else:
            yield at, parts[0][1] if len(parts) == 1 else np.concatenate([samples for _, samples in parts])


def _attempt(compute: Compute, samples: Samples) -> Callable[[np.ndarray], pa.Table]:
    """Computes some of the samples, by their places."""

    def attempt(places: np.ndarray) -> pa.Table:
        if len(places) == len(samples):
            return compute(samples)
        return compute([samples[place] for place in places] if isinstance(samples, list) else samples[places])

    return attempt


def _in_order(chunk: Chunk, tables: list[pa.Table], places: np.ndarray) -> pa.Table:
    """One table with what is known of the rows before what was computed."""
    computed = pa.concat_tables(tables)
    if (np.diff(places) < 0).any():
        order = np.argsort(places)
        computed, places = computed.take(order), places[order]
    return pa.table({**about(chunk, places), **dict(zip(computed.column_names, computed.columns, strict=True))})
