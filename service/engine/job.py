"""What the engine works on: jobs, and the calls that they make.

A job is a generator. It yields a call, is sent that call's outputs, and returns its result; it holds no session, no
thread and no clock, so it can be tested with a plain function in place of a graph.

    def job():
        outputs = yield RowCall(Capability.DECODE, {"z": z})      # (n, Z)
        return outputs["x"]                                       # (n, C, H, W)
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from contract import Capability

Arrays = dict[str, np.ndarray]


class RowCall(NamedTuple):
    """Run a stateless graph on these rows. Every input is (rows, …); outputs come back as (rows, …). `ahead` are rows that
    the job will ask for after these, as far as it knows."""

    capability: Capability
    inputs: Arrays
    ahead: int = 0

    @property
    def size(self) -> int:
        """Rows."""
        return len(next(iter(self.inputs.values())))

    @property
    def shape(self) -> tuple:
        """What rows must share to be stacked: name, dtype and shape of each input's row."""
        return tuple([(name, a.dtype.char, a.shape[1:]) for name, a in self.inputs.items()])


@dataclass(frozen=True, slots=True)
class LoneCall:
    """Run a graph of sequences once on exactly these inputs, which bring keys and values of their own. Such calls cannot be
    cut into rows: each is a batch."""

    capability: Capability
    inputs: Arrays
    ahead: ClassVar[int] = 0

    @property
    def size(self) -> int:
        """What a batch counts it as."""
        return 1


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen. `temperature` 0 takes the likeliest; `top_k` 0 and `top_p` 1 leave all. `logprobs` asks for
    the log-probability of each token, and for those of so many of the likeliest beside it; None for none."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token, its log-probability in nats under the model at temperature 1 (NaN where nobody asked for it), and the
    likeliest tokens with theirs where they were asked for."""

    id: int
    log_prob: float
    top: tuple[tuple[int, float], ...] = ()


Listener = Callable[[Token], bool]
"""Is told of each token as soon as it is chosen, on an engine's thread. Returns whether the sequence ends with it."""


@dataclass(frozen=True, slots=True, eq=False)
class SequenceCall:
    """Write tokens that follow a prompt, in a sequence of its own.

    prompt (T,) int64, T > 0. uniform (N,) float64 in [0, 1): the randomness of each token that is written, N at most.
    given (N,) int64: tokens that are known, -1 where one is to be chosen. The sequence ends with the Nth token, with
    `end_token`, or where `listen` says so; T + N is at most the model's context + 1, for the last token is not fed.
    `resumes` lets a sequence that had a slot a moment ago go before those that wait for one. The answer is the ids that
    were written, (n,) int64.
    """

    prompt: np.ndarray
    uniform: np.ndarray
    sampling: Sampling = Sampling()
    given: np.ndarray | None = None
    end_token: int | None = None
    listen: Listener | None = None
    resumes: bool = False
    capability: Capability = field(default=Capability.NEXT_TOKEN, init=False)
    ahead: ClassVar[int] = 0

    @property
    def size(self) -> int:
        """Tokens, at most."""
        return len(self.prompt) + len(self.uniform)


Call = RowCall | LoneCall | SequenceCall
Job = Generator[Call, Any, Any]
