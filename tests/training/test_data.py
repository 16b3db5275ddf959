import pytest
import torch
from tokenizers.decoders import DecodeStream

from training.data import load
from training.data.images import Images, image_list, images
from training.data.source import DataError, Draws
from training.data.texts import Windows, split_text, text
from training.data.tokenizers import UNKNOWN, character_tokenizer, pair_tokenizer
from training.recipe import DataConfig


def test_the_tokenizer_is_lossless_and_shows_what_it_does_not_know():
    whole = "To be,\nor not  to be:\n\n\tthat is."
    tokenizer = character_tokenizer(whole)
    encoded = tokenizer.encode(whole)
    assert len(encoded.ids) == len(whole)
    assert tokenizer.decode(encoded.ids) == whole
    unknown = tokenizer.token_to_id(UNKNOWN)
    assert unknown == len(set(whole))
    assert tokenizer.encode("é").ids == [unknown]


def test_byte_pairs_are_lossless_for_any_text_whole_and_streamed():
    tokenizer = pair_tokenizer(text("synthetic-text", None), 300)
    for whole in (
        "line 7 says: 3.\n",
        "\n\n\t two  blanks \r\n",
        "h\u00e9llo \u2713 \u65e5\u672c \U0001f642 a\u0301\u200d",
        "\x00\x7f",
        " ",
    ):
        ids, stream = tokenizer.encode(whole).ids, DecodeStream(skip_special_tokens=True)
        assert tokenizer.decode(ids) == whole
        assert "".join(stream.step(tokenizer, token) or "" for token in ids) == whole
    assert len(tokenizer.encode("line 7 says").ids) < len("line 7 says")


def test_a_text_of_byte_pairs_starts_with_a_line_break():
    dataset = load(DataConfig(dataset="synthetic-text", context=16, tokenizer="pairs", vocabulary=300), None)
    assert dataset.tokenizer is not None
    assert dataset.tokenizer.decode([dataset.summary.start_token]) == "\n"
    assert dataset.summary.vocabulary == dataset.tokenizer.get_vocab_size() <= 300
    assert dataset.train.tokens.max() < dataset.summary.vocabulary
    assert dataset.tokenizer.decode(dataset.train.tokens.tolist()) == split_text(text("synthetic-text", None))[0]


def test_a_context_longer_than_what_is_held_out_is_refused():
    with pytest.raises(DataError, match=r"data\.context: 5000 is too long"):
        load(DataConfig(dataset="synthetic-text", context=5000), None)


def test_draws_resume_at_any_step():
    source = Images(torch.randint(0, 255, (50, 1, 12, 12), dtype=torch.uint8), torch.arange(50), crop=8, flips=True)
    whole = list(Draws(source, 4, seed=3, steps=6))
    rest = Draws(source, 4, seed=3, steps=6)
    rest.load_state_dict({"step": 4})
    for expected, found in zip(whole[4:], rest, strict=True):
        assert torch.equal(expected["x"], found["x"])
        assert torch.equal(expected["label"], found["label"])
    assert whole[0]["x"].shape == (4, 1, 8, 8)
    assert not torch.equal(whole[0]["x"], whole[1]["x"])


def test_windows_side_by_side_predict_every_token_once():
    windows = Windows(torch.arange(100), size=11, starts=torch.arange(0, 90, 10))
    tokens = windows.at(torch.arange(len(windows)))["input_ids"]
    assert torch.equal(tokens[:, 1:].flatten(), torch.arange(1, 91))


def test_held_out_parts_and_test_part_do_not_overlap():
    dataset = load(DataConfig(dataset="synthetic-text", context=16), None)
    tokens, size = len(split_text(text("synthetic-text", None))[0]), 17

    def predicted(part: Windows) -> set[int]:
        return {int(start) + 1 + i for start in part.starts for i in range(size - 1)}

    train, validation, calibration = (predicted(p) for p in (dataset.train, dataset.validation, dataset.calibration))
    held_out = validation | calibration
    assert not validation & calibration
    assert not train & held_out
    assert min(held_out) > tokens * 0.45
    assert max(held_out) < tokens * 0.55
    assert len(held_out) > 0.04 * tokens
    assert len(train) + len(held_out) > 0.99 * tokens - 2 * size


def test_missing_data_is_named(tmp_path):
    with pytest.raises(DataError, match="mnist"):
        images("mnist", "train", tmp_path)
    with pytest.raises(DataError, match="tinyshakespeare"):
        text("tinyshakespeare", tmp_path)
    with pytest.raises(DataError, match="AMOSTRA_DATA"):
        image_list("set12", None)


def test_real_data_is_what_it_should_be(data_root):
    whole = text("tinyshakespeare", data_root)
    assert len(whole) == 1_115_394
    assert character_tokenizer(whole).get_vocab_size() == 66
    assert [image.shape for image in image_list("set12", data_root)] == [(256, 256)] * 7 + [(512, 512)] * 5
    pixels, labels = images("mnist", "test", data_root)
    assert pixels.shape == (10_000, 1, 28, 28)
    assert labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
