"""What a stateless call of a `next_token` graph says of the past: refused where it does not agree with itself.

Attention takes lengths at their word. One that reaches beyond the keys and values would be read behind them.
"""

from collections.abc import Mapping

import numpy as np

from contract.manifest import Manifest
from service.errors import Invalid
from service.tasks.samples import check_values

Given = Mapping[str, np.ndarray]


def check(manifest: Manifest, given: Given) -> None:
    """Refuse inputs that agree with the graph's shapes, and not with each other. Raises Invalid."""
    caches = [array.shape[2] for name, array in given.items() if name.startswith("past_key_values.")]
    if "attention_mask" in given:
        _check_growing(manifest.context, given, caches)
    else:
        _check_in_place(manifest.context, given, caches)


def _check_in_place(context: int, given: Given, caches: list[int]) -> None:
    """Keys and values have room for the new tokens; seqlens_k says how many each row has then, less one."""
    tokens, last, total = given["input_ids"].shape[1], given["seqlens_k"], int(given["total_sequence_length"])
    room = min([context, *caches])
    if max(caches, default=0) > context:
        raise Invalid(
            f"past_key_values: expected room for {context} tokens at most, the context, found {max(caches)}",
            field="past_key_values",
        )
    check_values("seqlens_k", last, 0, room - 1)
    if total != int(last.max()) + 1:
        raise Invalid(
            f"total_sequence_length: expected {int(last.max()) + 1}, the largest of seqlens_k plus 1, found {total}",
            field="total_sequence_length",
        )
    if total < tokens:
        raise Invalid(
            f"total_sequence_length: expected {tokens} or more, the tokens of input_ids, found {total}",
            field="total_sequence_length",
        )
    if tokens > 1 and total > tokens and len(last) > 1:
        raise Invalid(
            f"input_ids: {tokens} tokens on top of a past need a row alone, found {len(last)} rows: send each row in a "
            "request of its own, or one token of each",
            field="input_ids",
        )


def _check_growing(context: int, given: Given, caches: list[int]) -> None:
    """Keys and values grow by the new tokens; a mask says which of all tokens count."""
    tokens, mask = given["input_ids"].shape[1], given["attention_mask"]
    total = tokens + max(caches, default=0)
    if mask.shape[1] != total or len(set(caches)) > 1:
        raise Invalid(
            f"attention_mask: expected {total} places, those of the past and of input_ids, found {mask.shape[1]}",
            field="attention_mask",
        )
    if total > context:
        raise Invalid(f"input_ids: expected {context} tokens at most with the past, found {total}", field="input_ids")
    check_values("attention_mask", mask, 0, 1)
    if "position_ids" in given:
        check_values("position_ids", given["position_ids"], 0, context - 1)
