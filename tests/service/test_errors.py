"""One tree of errors: each has a status and a code of its own, and one envelope."""

import pytest

from service import errors
from service.errors import AmostraError, Invalid, ModelFailed, Overloaded


def every_error() -> list[type[AmostraError]]:
    return AmostraError.__subclasses__()


def test_the_docstring_draws_the_tree() -> None:
    for error in every_error():
        assert f"── {error.__name__} {error.status}" in (errors.__doc__ or "") or error.status == 405
    assert (errors.__doc__ or "").count("──") == len(every_error())


def test_codes_are_unique_but_for_our_own_failures() -> None:
    codes = [error.code for error in every_error()]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("error", every_error())
def test_the_envelope_is_a_problem_and_openai_s_error(error: type[AmostraError]) -> None:
    body = error("n: no", field="n").body("abc")
    assert set(body) == {"type", "title", "status", "detail", "instance", "error"}
    assert body["status"] == error.status
    assert body["type"] == f"urn:amostra:error:{error.code}"
    assert body["instance"] == "urn:amostra:request:abc"
    assert body["error"] == {
        "message": "n: no",
        "type": body["error"]["type"],
        "param": "n",
        "code": error.code,
    }


def test_the_kind_says_whose_fault_it_is() -> None:
    kinds = {error: error("x").body("r")["error"]["type"] for error in (Invalid, Overloaded, ModelFailed)}
    assert kinds == {
        Invalid: "invalid_request_error",
        Overloaded: "overloaded_error",
        ModelFailed: "model_failed_error",
    }


@pytest.mark.parametrize(("seconds", "header"), [(0.0, 1), (0.2, 1), (1.0, 2), (7.5, 8), (1000, 1000)])
def test_retry_after_is_a_whole_number_of_seconds_that_is_late_enough(seconds: float, header: int) -> None:
    found = int(Overloaded("x", retry_after=seconds).headers()["retry-after"])
    assert found >= max(1, seconds)
    assert found <= header + 1
    assert Overloaded("x").headers() == {}
