"""The seed of a row: a function of the job's seed and the row's key alone, however the rows are cut into shards."""

import hashlib

from service.samplers.noise import MAX_SEED


def row_seed(seed: int, key: int | str) -> int:
    """A seed as requests take it. `key` is the row's number, or its custom_id."""
    digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") & MAX_SEED
