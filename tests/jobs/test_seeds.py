"""The seed of a row follows from the job's seed and the row's key, and fits into a request."""

from jobs.seeds import row_seed
from service.samplers.noise import MAX_SEED


def test_rows_and_jobs_have_seeds_of_their_own() -> None:
    seeds = [row_seed(seed, key) for seed in range(30) for key in (*range(30), "a", "b")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed <= MAX_SEED for seed in seeds)


def test_it_never_changes() -> None:
    """Data that were drawn once can be drawn again."""
    assert row_seed(1, 0) == 2718658288813435
    assert row_seed(1, "a") == 1308896787073523
