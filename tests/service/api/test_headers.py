"""A request's headers by name."""

from starlette.requests import Request

from service.api.headers import has_any, header, headers_of


def request(*headers: tuple[bytes, bytes]) -> Request:
    return Request({"type": "http", "headers": list(headers)})


def test_the_first_of_a_name_counts() -> None:
    asked = request((b"accept", b"image/png"), (b"x", b"1"), (b"accept", b"*/*"))
    assert header(asked, b"accept", "") == asked.headers["accept"] == "image/png"


def test_what_is_not_there_is_what_the_caller_says() -> None:
    asked = request((b"x", b""))
    assert header(asked, b"accept", "*/*") == "*/*"
    assert header(asked, b"accept", None) is None
    assert header(asked, b"x", "something") == "", "there, and empty"


def test_one_of_several_names_is_there_or_none() -> None:
    asked = request((b"accept", b"image/png"), (b"x", b""))
    assert has_any(asked, {b"x", b"y"})
    assert not has_any(asked, {b"y", b"z"})
    assert not has_any(request(), {b"x"})


def test_any_byte_is_a_character() -> None:
    assert header(request((b"x", bytes(range(128, 256)))), b"x", "") == bytes(range(128, 256)).decode("latin-1")


def test_the_list_is_left_as_it_came() -> None:
    asked = request((b"a", b"1"), (b"b", b"2"))
    headers_of(asked.scope)
    assert asked.scope["headers"] == [(b"a", b"1"), (b"b", b"2")]
