"""Work of a request that would keep the event loop from the others: done on a thread where there is much of it."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def aside(much: bool, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call a function: here, or on a thread where it has much to do.

    A thread helps where the function gives way now and then: numeric code does, and so do loops in Python; one call that
    parses megabytes does not.
    """
    if much:
        return await asyncio.to_thread(function, *arguments, **named)
    return function(*arguments, **named)
