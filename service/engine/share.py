"""What one of several models may take of the machine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """`weight`: under load, a model of weight 2 gets twice the time of one of weight 1. `queue_seconds` bounds the work
    that may stand before a new request to the model, `queue_requests` its jobs under way; None is the engine's bound."""

    weight: float = 1.0
    queue_seconds: float | None = None
    queue_requests: int | None = None


EVEN = Share()
"""A model's share where nothing is said of it."""
