"""How much at once, and for how long."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a batch and of how long things may keep a thread.

    `rows` and `elements` bound what a graph is given at once, `batch_seconds` how long a batch keeps a thread, and
    `call_seconds` the part of one call in it, so that a thousand rows leave room for others. Rows of a small graph are given
    to it one run after another in the same batch, for up to `runs_seconds`: what is around a batch would take as long as a
    run. Sequences take steps until somebody else comes, or for `step_seconds`. Jobs that are shorter than `here_seconds` may
    be started by whoever brings them, and run by them in batches that take no more than `turn_seconds` each: handing them
    over would take as long. So may one of up to `alone_seconds` that has the engine to itself, whole: who comes meanwhile
    would have to share the cores with it. A job that had more than `long_seconds` is long, and for `spare_seconds` after a
    short one long ones leave a worker free. An engine that stops waits `stop_seconds` for the batches in flight. A batch
    that whoever brought it runs hangs after `here_hang_seconds`: it should have taken milliseconds.

    Background work has the workers once no interactive job was under way for `calm_seconds`: clients that send one request
    after the other leave gaps, and the next one should not find a batch in them. One of the workers it leaves free until
    `spare_seconds` after the last. Its batches take `patient_seconds` at most. Under steady load it has one of them every
    `patience_seconds`; where interactive work always waits, one of rows every two times that, before the others.
    """

    rows: int = 64
    elements: int = 2**20
    batch_seconds: float = 0.1
    call_seconds: float = 0.005
    runs_seconds: float = 0.002
    step_seconds: float = 0.02
    here_seconds: float = 0.001
    alone_seconds: float = 0.005
    turn_seconds: float = 0.00015
    long_seconds: float = 0.05
    spare_seconds: float = 0.1
    stop_seconds: float = 5.0
    here_hang_seconds: float = 5.0
    calm_seconds: float = 0.02
    patient_seconds: float = 0.01
    patience_seconds: float = 2.0
