"""How far a job is: a bar for people, lines for logs, and the metrics."""

import sys
import time
from dataclasses import dataclass, field

from tqdm import tqdm

from jobs.metrics import Metrics
from jobs.parts import Counts

_LINE_SECONDS = 30.0


@dataclass
class Progress:
    """Counts what is done. `before` are the rows and bad rows of shards that were done when this run began."""

    metrics: Metrics
    planned: int
    before: Counts
    quiet: bool = False
    gateway: str | None = None
    rows: int = 0
    bad: int = 0
    _bar: tqdm = field(init=False)
    _said: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._bar = tqdm(
            total=self.planned,
            initial=self.before.rows,
            unit=" rows",
            unit_scale=True,
            smoothing=0.1,
            dynamic_ncols=True,
            disable=self.quiet or not sys.stderr.isatty(),
        )
        self.metrics.started.set_to_current_time()
        self.metrics.rows_planned.set(self.planned)
        self.metrics.rows_before.set(self.before.rows)

    @property
    def all_bad(self) -> int:
        """Bad rows of the whole output so far."""
        return self.before.bad + self.bad

    def add(self, counts: Counts) -> None:
        """A shard is done."""
        self.rows += counts.rows
        self.bad += counts.bad
        self.metrics.rows.inc(counts.rows)
        self.metrics.bad_rows.inc(counts.bad)
        self.metrics.shards.inc()
        self.metrics.push_now_and_then(self.gateway)
        self._bar.set_postfix(bad=self.all_bad, refresh=False)
        self._bar.update(counts.rows)
        if self._bar.disable and not self.quiet and time.monotonic() - self._said > _LINE_SECONDS:
            self._said = time.monotonic()
            done = self.before.rows + self.rows
            print(f"{done} of {self.planned} rows, {self.all_bad} bad", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the bar where it is."""
        self._bar.close()
