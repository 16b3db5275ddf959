"""Load while a service is stopped; runs inside a container, on the standard library alone.

    python load.py http://amostra:3000 16

Every client asks again and again, on connections that it keeps, until it is refused a connection. Prints `begun` after the
first answers and at the end one JSON object: how many requests were answered with which status, how many connections were
refused, and how many requests were lost: sent, and never answered.
"""

import collections
import http.client
import itertools
import json
import sys
import threading
from typing import Any
from urllib.parse import urlsplit

ASKS: list[dict[str, Any]] = [
    {"path": "/v1/images/generations", "n": 8, "seed": 1},
    {"path": "/v1/completions", "prompt": "ROMEO:", "max_tokens": 60, "seed": 2},
    {"path": "/v1/images/generations", "model": "mnist-diffusion", "n": 2, "seed": 1, "steps": 8},
]


def client(number: int, host: str, port: int, seen: collections.Counter, first: threading.Event) -> None:
    """Ask until a connection is refused, or a request is lost."""
    connection = None
    for ask in itertools.islice(itertools.cycle(ASKS), number, None):
        if connection is None:
            connection = http.client.HTTPConnection(host, port, timeout=60)
            try:
                connection.connect()
            except OSError:
                seen["refused"] += 1
                return
        body = json.dumps({name: value for name, value in ask.items() if name != "path"})
        try:
            connection.request("POST", ask["path"], body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            seen["lost"] += 1
            seen[type(error).__name__] += 1
            return
        seen[str(answer.status)] += 1
        first.set()
        if answer.headers.get("connection") == "close":
            connection.close()
            connection = None


def main() -> None:
    """Run the clients and print what they saw."""
    address, count = urlsplit(sys.argv[1]), int(sys.argv[2])
    seen: collections.Counter = collections.Counter()
    first = threading.Event()
    threads = [
        threading.Thread(target=client, args=(n, address.hostname, address.port, seen, first)) for n in range(count)
    ]
    for thread in threads:
        thread.start()
    first.wait(60)
    print("begun", flush=True)
    for thread in threads:
        thread.join()
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
