"""A text graph's sequences in parts: each has rows of its own, and steps that one worker takes beside the others'.

Where a graph's weights stay in the caches, two halves of a crowd on a core each are faster than all of it on two threads,
which wait for each other after every operator; and while one half's prompt is computed the other half goes on. Where the
weights come from the memory, each part would read all of them: such a graph has one part.

A prompt takes over what any part holds of its beginning.
"""

from collections.abc import Callable, Sequence

from service.engine.batch import Batch
from service.engine.held_rows import Rows
from service.engine.job import Arrays
from service.engine.sequences import Progress, SequenceRunner


class SequenceParts:
    """Runners of one graph, each with a lane of its own; a batch says by its lane whose it is. A part is called by one thread
    at a time."""

    def __init__(self, parts: Sequence[SequenceRunner]) -> None:
        self.parts = tuple(parts)
        Rows.stand_together([part.rows for part in parts])

    @property
    def slots(self) -> int:
        """Sequences that take steps at a time, in all."""
        return sum(part.slots for part in self.parts)

    @property
    def context(self) -> int:
        """The most tokens of a sequence."""
        return self.parts[0].context

    @property
    def bytes(self) -> int:
        """Memory of the key/value buffers."""
        return sum(part.bytes for part in self.parts)

    def run(self, batch: Batch, go_on: Callable[[], bool] = lambda: False) -> Progress:
        """As SequenceRunner.run."""
        return self.parts[batch.lane.part].run(batch, go_on)

    def run_each(self, batch: Batch) -> tuple[list[Arrays | Exception], int]:
        """As SequenceRunner.run_each."""
        return self.parts[0].run_each(batch)

    def warm(self) -> None:
        """Compute a token in an empty slot of each."""
        for part in self.parts:
            part.warm()


Sequences = SequenceRunner | SequenceParts
