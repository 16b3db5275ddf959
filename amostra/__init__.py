"""Client of a service of Amostra: NumPy in and out, errors as a tree, retries, streams; and the command `amostra`.

from amostra import Client

with Client() as client:
    print(client.complete("ROMEO:", max_tokens=40, seed=1).text)
"""

from amostra.answers import (
    Calibration,
    Choice,
    Completion,
    Drift,
    Embeddings,
    Images,
    LogProbs,
    Model,
    Preview,
    Rows,
    Scores,
)
from amostra.async_client import AsyncClient, AsyncStream
from amostra.batches import Batch, StoredFile
from amostra.client import Client, Stream
from amostra.errors import (
    AmostraError,
    Busy,
    Failed,
    Invalid,
    NotFound,
    TimedOut,
    Unauthorized,
    Unreachable,
)

__all__ = [
    "AmostraError",
    "AsyncClient",
    "AsyncStream",
    "Batch",
    "Busy",
    "Calibration",
    "Choice",
    "Client",
    "Completion",
    "Drift",
    "Embeddings",
    "Failed",
    "Images",
    "Invalid",
    "LogProbs",
    "Model",
    "NotFound",
    "Preview",
    "Rows",
    "Scores",
    "StoredFile",
    "Stream",
    "TimedOut",
    "Unauthorized",
    "Unreachable",
]
