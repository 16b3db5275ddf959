"""The bytes that requests hold: their bodies, from the first part that comes, and the arrays that are made of them.

What waits is bounded in jobs and in time, but a thousand bodies of the largest size are more than a machine has, and so is a
small body of many pictures that unpack well.
"""

import threading

from starlette.requests import Request

from service.errors import ClientGone, Overloaded, TooLarge

_SETTING = "AMOSTRA_REQUESTS_MB"
_RETRY_SECONDS = 1.0


class Held:
    """What all requests hold together: `bytes`, never more than `most`. Safe to use from several threads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0
        self.lock = threading.Lock()


class Hold:
    """What one request holds, until it is over.

    Only what has come counts, not what is announced: else a few heads without bodies would keep everybody out.
    """

    __slots__ = ("_bytes", "_held", "_over")

    def __init__(self, held: Held) -> None:
        self._held = held
        self._bytes = 0
        self._over = False

    def check(self, more: int) -> None:
        """Raise what grow() would, where that is known beforehand."""
        if self._held.bytes + more <= self._held.most:
            return
        if self._bytes + more > self._held.most:
            raise TooLarge(
                f"body: it takes {self._bytes + more} bytes in memory, the limit for all requests together is "
                f"{self._held.most} ({_SETTING}): send less at once"
            )
        raise Overloaded(
            f"requests hold {self._held.bytes} bytes, {more} more would be over the {self._held.most} that they may "
            f"hold together ({_SETTING}): send it again after the seconds that Retry-After gives",
            retry_after=_RETRY_SECONDS,
        )

    def grow(self, more: int) -> None:
        """Hold so many bytes more. Raises Overloaded where others hold too much, TooLarge where it would never fit, and
        ClientGone where the request is over: a thread may still be at it."""
        held = self._held
        with held.lock:
            if self._over:
                raise ClientGone("the request is over")
            if more > 0:
                self.check(more)
            self._bytes += more
            held.bytes += more

    def keep(self, count: int) -> None:
        """Hold so many bytes, and nothing else any more. Raises as grow() does."""
        self.grow(count - self._bytes)

    def release(self) -> None:
        """The request is over."""
        with self._held.lock:
            self._held.bytes -= self._bytes
            self._bytes, self._over = 0, True


def hold_of(request: Request) -> Hold:
    """What a request holds; the middleware releases it when the request is over."""
    hold: Hold | None = request.scope.get("amostra.hold")
    if hold is None:
        hold = request.scope["amostra.hold"] = Hold(request.app.state.service.held)
    return hold
