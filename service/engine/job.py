"""What the engine works on: jobs, and the calls that they make.

A job is a generator. It yields a call, is sent that call's outputs, and returns its result; it holds no session, no
thread and no clock, so it can be tested with a plain function in place of a graph.

    def job():
        outputs = yield RowCall(Capability.DECODE, {"z": z})      # (n, Z)
        return outputs["x"]                                       # (n, C, H, W)
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contract import Capability

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class RowCall:
    """Run a stateless graph on these rows. Every input is (rows, …); outputs come back as (rows, …)."""

    capability: Capability
    inputs: Arrays

    @property
    def size(self) -> int:
        """Rows."""
        return len(next(iter(self.inputs.values())))

    @property
    def shape(self) -> tuple:
        """What rows must share to be stacked: name, dtype and shape of each input's row."""
        return tuple((name, a.dtype.char, a.shape[1:]) for name, a in self.inputs.items())


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is chosen. `temperature` 0 takes the likeliest; `top_k` 0 and `top_p` 1 leave all; `top_logprobs`
    asks for that many of the likeliest tokens beside the chosen one."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    top_logprobs: int = 0


@dataclass(frozen=True, slots=True)
class TokenCall:
    """Append tokens to this job's sequence and choose the next one.

    `tokens` is one token after a former call; with `sampling` it is a new sequence's prompt (T,), and what the job had
    before is forgotten. `uniform` in [0, 1) is the randomness of the choice.
    """

    tokens: np.ndarray
    uniform: float
    sampling: Sampling | None = None
    capability: Capability = field(default=Capability.NEXT_TOKEN, init=False)

    @property
    def size(self) -> int:
        """Tokens."""
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class Token:
    """The answer to a TokenCall: the token, its log-probability in nats under the model at temperature 1, and the
    likeliest tokens with theirs where they were asked for."""

    id: int
    log_prob: float
    top: tuple[tuple[int, float], ...] = ()


Call = RowCall | TokenCall
Job = Generator[Call, Any, Any]
