"""A graph that departs from its capability's signature is told what was expected and what was found."""

from collections.abc import Iterator

import pytest

from contract import SIGNATURES, Capability, TensorSpec, mismatches
from tests.toys import graphs, optimum
from tests.toys.graphs import spec

LANGUAGE = graphs.Language(vocabulary=11, context=16)
SOUND = {
    "decode": (Capability.DECODE, graphs.decode()),
    "decode without label": (Capability.DECODE, graphs.decode(classes=0)),
    "reconstruct": (Capability.RECONSTRUCT, graphs.reconstruct()),
    "density of images": (Capability.LOG_DENSITY, graphs.gaussian((1, 8, 8))),
    "density of vectors": (Capability.LOG_DENSITY, graphs.gaussian((3,))),
    "density of text": (Capability.LOG_DENSITY, graphs.text_log_density(LANGUAGE)),
    "next token": (Capability.NEXT_TOKEN, graphs.next_token(LANGUAGE)),
    "next token without a past": (Capability.NEXT_TOKEN, graphs.bigram(11)),
    "next token by concatenation": (Capability.NEXT_TOKEN, optimum.next_token(LANGUAGE)),
    "embedding of images": (Capability.ENCODE, graphs.encode((1, 8, 8))),
    "embedding of text": (Capability.ENCODE, graphs.text_encode(11)),
}


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_graph_fits(case: str) -> None:
    capability, (_, inputs, outputs) = SOUND[case]
    assert mismatches(capability, inputs, outputs) == []


def _departures(tensor: TensorSpec, required: bool) -> dict[str, TensorSpec | None]:
    """What a tensor must not be; None is its absence."""
    shape = tensor.shape
    found: dict[str, TensorSpec | None] = {
        "another dtype": tensor.model_copy(update={"dtype": "uint8"}),
        "another rank": tensor.model_copy(update={"shape": shape[:1] if len(shape) > 1 else (*shape, 3)}),
    }
    if shape:
        found["fixed batch"] = tensor.model_copy(update={"shape": (4, *shape[1:])})
    if required:
        found["absent"] = None
    return found


def _every_single_departure() -> Iterator:
    for name, (capability, (_, inputs, outputs)) in SOUND.items():
        signature = SIGNATURES[capability]
        optional = {p.name for p in (*signature.inputs, *signature.outputs, *signature.alternative) if not p.required}
        for side, tensors in (("input", inputs), ("output", outputs)):
            for at, tensor in enumerate(tensors):
                for kind, other in _departures(tensor, tensor.name not in optional).items():
                    changed = [*tensors[:at], *([other] if other else []), *tensors[at + 1 :]]
                    ports = (changed, outputs) if side == "input" else (inputs, changed)
                    yield pytest.param(capability, *ports, tensor.name, id=f"{name}, {tensor.name}: {kind}")


@pytest.mark.parametrize(("capability", "inputs", "outputs", "tensor"), _every_single_departure())
def test_every_departure_is_named_with_expected_and_found(
    capability: Capability, inputs: list[TensorSpec], outputs: list[TensorSpec], tensor: str
) -> None:
    problems = mismatches(capability, inputs, outputs)
    assert problems
    assert all("expected" in p and "found" in p for p in problems)
    assert any(f"expected {tensor}: " in p for p in problems)


def test_a_tensor_of_no_signature_is_named() -> None:
    _, inputs, outputs = graphs.decode()
    problems = mismatches(Capability.DECODE, [*inputs, spec("mood", "float32", "batch")], outputs)
    assert problems == ["input: expected none of the name, found mood: float32[batch]"]


def test_several_departures_are_all_named() -> None:
    problems = mismatches(Capability.DECODE, [], [])
    assert problems == [
        "input: expected z: float32[B, Z], found none",
        "output: expected x: float32[B, *S], found none",
    ]


def test_sizes_that_share_a_symbol_must_agree() -> None:
    """A denoiser's estimate has the shape of what it was given."""
    inputs = [spec("x_t", "float32", "B", 1, 28, 28), spec("sigma", "float32", "B")]
    fits = [spec("x0", "float32", "B", 1, 28, 28)]
    assert mismatches(Capability.DENOISE_STEP, inputs, fits) == []
    (problem,) = mismatches(Capability.DENOISE_STEP, inputs, [spec("x0", "float32", "B", 1, 28, 27)])
    assert "*S = [1, 28, 28]" in problem
    assert "27" in problem


def test_an_upscaler_may_return_another_size() -> None:
    inputs, outputs = [spec("x", "float32", "B", 1, "h", "w")], [spec("x_hat", "float32", "B", 1, "h2", "w2")]
    assert mismatches(Capability.RECONSTRUCT, inputs, outputs) == []


def test_a_layer_that_has_a_key_needs_a_value() -> None:
    _, inputs, outputs = graphs.next_token(LANGUAGE)
    without = [t for t in inputs if t.name != "past_key_values.1.value"]
    (problem,) = mismatches(Capability.NEXT_TOKEN, without, outputs)
    assert problem.startswith("input: expected past_key_values.1.value: ")
    assert problem.endswith("found none")


def test_a_past_that_is_never_given_back_does_not_fit() -> None:
    _, inputs, outputs = graphs.next_token(LANGUAGE)
    problems = mismatches(Capability.NEXT_TOKEN, inputs, outputs[:1])
    assert len(problems) == len(outputs) - 1
    for tensor in outputs[1:]:
        assert any(p.startswith(f"output: expected {tensor.name}: ") for p in problems)


def test_a_first_layer_that_is_missing_is_noticed() -> None:
    _, inputs, outputs = graphs.next_token(LANGUAGE)
    without = [t for t in inputs if not t.name.startswith("past_key_values.0")]
    assert any("expected past_key_values.0.key" in p for p in mismatches(Capability.NEXT_TOKEN, without, outputs))


def test_a_decoder_that_was_exported_without_a_past_does_not_fit() -> None:
    _, inputs, outputs = optimum.next_token(LANGUAGE)
    without = ([t for t in tensors if "." not in t.name] for tensors in (inputs, outputs))
    problems = mismatches(Capability.NEXT_TOKEN, *without)
    assert any("expected past_key_values.0.key" in p for p in problems)


def test_layers_with_a_gap_do_not_fit() -> None:
    _, inputs, outputs = graphs.next_token(graphs.Language(vocabulary=11, context=16, layers=3))
    without = [t for t in inputs if ".1." not in t.name]
    assert mismatches(Capability.NEXT_TOKEN, without, outputs)


def test_text_and_samples_are_two_ways_to_give_a_density_its_input() -> None:
    _, inputs, outputs = graphs.text_log_density(LANGUAGE)
    ids_only = [t for t in inputs if t.name == "input_ids"]
    (problem,) = mismatches(Capability.LOG_DENSITY, ids_only, outputs)
    assert "expected lengths: int64[B], found none" in problem
