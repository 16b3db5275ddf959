"""What every answer says of its row: the number in the whole input, the file that it comes from, the columns kept."""

import numpy as np
import pyarrow as pa

from jobs.chunks import Chunk, Refused
from jobs.engine import RowError


def about(chunk: Chunk, places: np.ndarray) -> dict[str, pa.Array | pa.ChunkedArray]:
    """The first columns of an answer, of rows by their places in the chunk."""
    columns: dict[str, pa.Array | pa.ChunkedArray] = {"row": pa.array(chunk.rows[places], pa.int64())}
    if chunk.names is not None:
        columns["file"] = pa.array([chunk.names[place] for place in places], pa.string())
    if chunk.kept is not None:
        columns |= {name: chunk.kept.column(name).take(places) for name in chunk.kept.column_names}
    return columns


def refusal(chunk: Chunk, place: int, error: RowError) -> Refused:
    """A row by its place in the chunk, refused."""
    return Refused(int(chunk.rows[place]), error, chunk.names[place] if chunk.names is not None else None)
