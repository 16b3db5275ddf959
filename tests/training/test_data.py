import pytest
import torch

from training.data import DataError, Draws, Images, Windows, image_list, images, load, split_text, text
from training.recipe import DataConfig
from training.tokenizer import UNKNOWN, character_tokenizer


def test_the_tokenizer_is_lossless_and_shows_what_it_does_not_know():
    whole = "To be,\nor not  to be:\n\n\tthat is."
    tokenizer = character_tokenizer(whole)
    encoded = tokenizer.encode(whole)
    assert len(encoded.ids) == len(whole)
    assert tokenizer.decode(encoded.ids) == whole
    unknown = tokenizer.token_to_id(UNKNOWN)
    assert unknown == len(set(whole))
    assert tokenizer.encode("é").ids == [unknown]


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
    windows = Windows(torch.arange(100), size=11, stride=10)
    tokens = windows.at(torch.arange(len(windows)))["input_ids"]
    assert torch.equal(tokens[:, 1:].flatten(), torch.arange(1, 91))


def test_held_out_parts_and_test_part_do_not_overlap():
    dataset = load(DataConfig(dataset="synthetic-text", context=16), None)
    whole = split_text(text("synthetic-text", None))[0]
    parts = (dataset.train, dataset.validation, dataset.calibration)
    train, validation, calibration = (
        dataset.tokenizer.decode(part.at(torch.arange(len(part)))["input_ids"][:, 1:].flatten().tolist())
        for part in parts
    )
    held_out = "".join(
        first + second for first, second in zip(_pieces(validation, 16), _pieces(calibration, 16), strict=False)
    )
    assert held_out in whole
    assert len(dataset.train.tokens) + len(dataset.validation.tokens) == len(whole)
    assert len(train) == (len(dataset.train.tokens) - 16) * 16


def _pieces(whole, size):
    return [whole[i : i + size] for i in range(0, len(whole), size)]


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
