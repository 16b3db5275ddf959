"""64 clients of mixed tasks for 30 seconds: every answer must be right, and no error but 429 is allowed.

    python -m benchmarks.mixed_clients [--url http://127.0.0.1:3000] [--clients 64] [--seconds 30]

It compares nothing, so it publishes nothing and `make bench` leaves it out: `make bench BENCHMARKS=mixed_clients` runs it.
Without --url a service is started. What is right is known before: every request that will be sent is first sent alone,
and under load the answer must be the same bytes (JSON: the same but for id, created and request id).
"""

import argparse
import asyncio
import collections
import contextlib
import json
import random
import sys
import time
from collections.abc import Iterator

import httpx
import numpy as np

from benchmarks.load import Request
from benchmarks.servers import ours

VOLATILE = ("id", "created", "instance")


def requests() -> list[tuple[str, str, dict]]:
    """(task, path, arguments of httpx) of every request that clients choose from."""
    rng = np.random.default_rng(0)
    photo = np.add.outer(np.linspace(0, 0.5, 64), np.linspace(0, 0.4, 64)) + rng.normal(0, 0.1, (64, 64))
    digits = rng.random((4, 28, 28))
    npy = {"content-type": "application/x-npy"}
    found: list[tuple[str, str, dict]] = []
    for seed in range(6):
        draw = {"prompt": str(seed), "seed": seed, "n": 1 + 3 * (seed % 3)}
        found.append(("generate", "/v1/images/generations", {"json": draw, "headers": {"accept": "image/png"}}))
        noisy = {"content": _npy(photo[: 32 + 8 * (seed % 4)]), "headers": npy | {"accept": "application/x-npy"}}
        found.append(("denoise", "/v1/images/denoise", noisy))
        found.append(("score", "/v1/score", {"content": _npy(digits[: 1 + seed % 4]), "headers": npy}))
        text = {"prompt": "ROMEO:"[: seed + 1], "max_tokens": 8 * (seed + 1), "seed": seed, "temperature": 0.2 * seed}
        found.append(("complete", "/v1/completions", {"json": text}))
        found.append(
            ("score text", "/v1/score", {"json": {"input": "To be, or not to be, that is the question" * (seed + 1)}})
        )
    return found


def _npy(array: np.ndarray) -> bytes:
    import io

    stream = io.BytesIO()
    np.save(stream, array.astype(np.float32))
    return stream.getvalue()


def comparable(response: httpx.Response) -> bytes:
    """What must not change between two answers."""
    if not response.headers["content-type"].startswith("application/json"):
        return response.content
    content = response.json()
    return json.dumps({k: v for k, v in content.items() if k not in VOLATILE}, sort_keys=True).encode()


async def load(url: str, clients: int, seconds: float) -> int:
    """Run and print. Returns the number of wrong answers and errors."""
    asked = requests()
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        alone = []
        for _, path, arguments in asked:
            response = await client.post(path, **arguments)
            response.raise_for_status()
            alone.append(comparable(response))
        count: collections.Counter = collections.Counter()
        times: dict[str, list[float]] = collections.defaultdict(list)
        end = time.monotonic() + seconds

        async def one(number: int) -> None:
            rng = random.Random(number)
            while time.monotonic() < end:
                i = rng.randrange(len(asked))
                task, path, arguments = asked[i]
                start = time.monotonic()
                try:
                    response = await client.post(path, **arguments)
                except httpx.HTTPError as error:
                    count[f"error {type(error).__name__}"] += 1
                    continue
                times[task].append(time.monotonic() - start)
                if response.status_code == 429:
                    count["refused with 429"] += 1
                    await asyncio.sleep(float(response.headers["retry-after"]))
                elif response.status_code != 200:
                    count[f"error {response.status_code}"] += 1
                elif comparable(response) != alone[i]:
                    count["error wrong answer"] += 1
                else:
                    count["right"] += 1

        await asyncio.gather(*(one(n) for n in range(clients)))
    print(f"{clients} clients, {seconds:g} s: " + ", ".join(f"{v} {k}" for k, v in sorted(count.items())))
    for task, values in sorted(times.items()):
        p50, p99 = np.percentile(values, [50, 99]) * 1000
        print(f"  {task:10} {len(values) / seconds:7.1f}/s   p50 {p50:6.0f} ms   p99 {p99:6.0f} ms")
    return sum(v for k, v in count.items() if k.startswith("error"))


@contextlib.contextmanager
def service() -> Iterator[str]:
    """A service of its own, stopped at the end."""
    with ours(Request("/readyz", method="GET")) as served:
        yield f"http://127.0.0.1:{served.port}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30.0)
    ask = parser.parse_args()
    with contextlib.nullcontext(ask.url) if ask.url else service() as url:
        sys.exit(1 if asyncio.run(load(url, ask.clients, ask.seconds)) else 0)


if __name__ == "__main__":
    main()
