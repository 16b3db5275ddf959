"""Clients that are slow: what they hold open is ended, and nobody else notices. Sockets by hand, against the real server."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from tests.e2e.server import Server
from tests.eventually import eventually
from tests.toys import directories
from tests.toys.directories import GENERATOR

SECONDS = 2.0
HEAD = "POST {path} HTTP/1.1\r\nhost: amostra\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = directories.write_store(tmp_path_factory.mktemp("store"))
    settings = {"AMOSTRA_PROVIDER": "cpu", "AMOSTRA_SLOW_CLIENT_SECONDS": str(SECONDS)}
    server = Server(store, tmp_path_factory.mktemp("home"), settings)
    try:
        server.start()
        server.until("/readyz", 200)
        yield server
    finally:
        server.kill()


def connect(server: Server, receive_buffer: int = 0) -> socket.socket:
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.connect(("127.0.0.1", server.port))
    client.settimeout(20)
    return client


def ended(client: socket.socket) -> bool:
    """Whether the other side has ended the connection by now."""
    try:
        return client.recv(65536) == b""
    except ConnectionError:
        return True


def trickle(client: socket.socket, sent: bytes) -> None:
    """Send byte by byte, until the other side has had enough."""
    with pytest.raises(ConnectionError):
        send_slowly(client, sent)


def send_slowly(client: socket.socket, sent: bytes) -> None:
    for byte in sent:
        client.sendall(bytes([byte]))
        time.sleep(0.2)


def counted(server: Server, part: str) -> float:
    text = httpx.get(f"{server.url}/metrics").text
    lines = [line for line in text.splitlines() if line.startswith(f'amostra_slow_clients_total{{part="{part}"}}')]
    return float(lines[0].split()[1]) if lines else 0.0


def test_a_head_that_never_ends(server: Server) -> None:
    for sent in (b"", b"POST /v1/score HTTP/1.1\r\nx-a: b"):
        with closing(connect(server)) as client:
            start = time.monotonic()
            client.sendall(sent)
            assert ended(client)
            assert SECONDS * 0.9 < time.monotonic() - start < SECONDS + 5
    assert counted(server, "head") >= 2


def test_a_second_head_that_comes_byte_by_byte(server: Server) -> None:
    with closing(connect(server)) as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
        start = time.monotonic()
        trickle(client, b"GET /v1/models HTTP/1.1\r\n" * 100)
        assert time.monotonic() - start < SECONDS + 6


@pytest.mark.parametrize("piece", [b"x: " + b"y" * 1000 + b"\r\n", b"z" * 1000], ids=["many headers", "one large"])
def test_a_head_without_bounds(server: Server, piece: bytes) -> None:
    answer, sent = b"", 0
    with closing(connect(server)) as client:
        client.sendall(b"POST /v1/score HTTP/1.1\r\nhost: a\r\nx: ")
        try:
            for _ in range(100_000):
                client.sendall(piece)
                sent += len(piece)
        except ConnectionError:
            pass
        assert sent < 20 * 2**20, "what the system's buffers hold, and not a hundred megabytes"
    with closing(connect(server)) as client:
        client.sendall(b"POST /v1/score HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 66_000)
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_head_and_a_large_body_at_once(server: Server) -> None:
    body = json.dumps({"n": 1}).encode().ljust(200_000)
    with closing(connect(server)) as client:
        for _ in range(3):
            client.sendall(HEAD.format(path="/v1/images/generations", length=len(body)).encode() + body)
            assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_an_idle_connection_is_kept_as_long_as_it_says(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.get("/v1/models").status_code == 200
        time.sleep(SECONDS + 2)
        assert client.get("/v1/models").status_code == 200
        (connection,) = client._transport._pool.connections  # type: ignore[attr-defined]
        assert "Request Count: 2" in repr(connection), "on the same connection"


def test_a_body_that_comes_byte_by_byte(server: Server) -> None:
    with closing(connect(server)) as client:
        client.sendall(HEAD.format(path="/v1/score", length=1000).encode())
        start = time.monotonic()
        trickle(client, b" " * 100)
        assert SECONDS * 0.9 < time.monotonic() - start < SECONDS + 6
    eventually(lambda: counted(server, "body") >= 1)


def test_a_body_that_takes_long_for_its_size_is_taken(server: Server) -> None:
    body = json.dumps({"n": 1}).encode().ljust(20_000)
    with closing(connect(server)) as client:
        client.sendall(HEAD.format(path="/v1/images/generations", length=len(body)).encode())
        for at in range(0, len(body), 2_000):
            client.sendall(body[at : at + 2_000])
            time.sleep(SECONDS / 5)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_body_that_comes_fast_and_then_no_further(server: Server) -> None:
    """What was sent fast gives no time for later: 190 kB would be three minutes."""
    before = counted(server, "body")
    with closing(connect(server)) as client:
        start = time.monotonic()
        client.sendall(HEAD.format(path="/v1/score", length=200_000).encode() + b" " * 190_000)
        assert ended(client)
        assert SECONDS * 0.9 < time.monotonic() - start < SECONDS + 5
    assert counted(server, "body") == before + 1


def test_an_answer_that_nobody_reads(server: Server) -> None:
    """Large ones, one after the other, into a small window, until there is no room for more."""
    body = json.dumps({"model": GENERATOR, "n": 1000, "latents": [[0.0] * 4] * 1000}).encode()
    ask = HEAD.format(path="/v1/images/generations", length=len(body)).replace(
        "\r\n\r\n", "\r\naccept: application/x-npy\r\n\r\n"
    )
    with closing(connect(server, receive_buffer=4096)) as client:
        start = time.monotonic()
        for _ in range(20):
            client.sendall(ask.encode() + body)
        eventually(lambda: counted(server, "answer") >= 1, SECONDS + 10)
        assert time.monotonic() - start < SECONDS + 15
    assert httpx.post(f"{server.url}/v1/images/generations", json={}).status_code == 200
