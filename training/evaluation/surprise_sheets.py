"""Where the surprise lies, for a sheet: images under it in red, and lines with each character on its red."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tokenizers import Tokenizer

from contract import Capability
from service.codecs import overlay
from training.evaluate import ExportedModel
from training.scored_lines import scored_lines

Array = NDArray[np.float32]
FONT, ROW = 13, 20  # pixels
LONGEST = 62  # characters of a line that are shown


def explained(model: ExportedModel, x: Array, columns: int) -> Array:
    """Some of the more normal half of images (N, C, H, W), and the strangest, each row above the same with its surprise laid
    over it, all red what is rare: (4 columns, 3, H, W)."""
    scoring, calibration = model.manifest.scoring, model.manifest.calibration
    assert scoring is not None, "the contract asks for it"
    normality = model.run(Capability.SCORE, {"x": x}, "normality")[:, scoring.statistics.index(scoring.default)]
    surprise = model.run(Capability.SCORE, {"x": x}, "surprise")
    usual = calibration.surprise / 4 if calibration and calibration.surprise else None
    order, rows = normality.argsort()[::-1], []
    for some in (order[:: len(order) // (2 * columns)][:columns], order[-columns:]):
        rows += [np.broadcast_to(image, (3, *image.shape[1:])) for image in x[some]]
        rows += [overlay.lay(image, map_, usual) for image, map_ in zip(x[some], surprise[some], strict=True)]
    return np.stack(rows)


def coloured_lines(model: ExportedModel, lines: list[str], width: int) -> Image.Image:
    """Lines below each other, as many pixels wide."""
    text, calibration = model.manifest.text, model.manifest.calibration
    assert text is not None, "the contract asks for it"
    tokenizer = Tokenizer.from_file(str(model.directory / text.tokenizer.file))
    encodings = tokenizer.encode_batch([line[:LONGEST] for line in lines], add_special_tokens=False)
    (scores,) = scored_lines(model.directory, model.manifest, [[np.array(e.ids, np.int64) for e in encodings]])
    full = 4 * calibration.surprise if calibration and calibration.surprise else 1.0
    picture, font = Image.new("RGB", (width, ROW * len(lines) + 8), "white"), ImageFont.load_default(FONT)
    pen = ImageDraw.Draw(picture)
    for number, (line, encoding, surprise) in enumerate(zip(lines, encodings, scores.surprise or (), strict=True)):
        left, top, of_place = 8.0, 4 + ROW * number, np.zeros(len(line[:LONGEST]))
        for (first, _), nats in zip(encoding.offsets, surprise, strict=True):
            of_place[first] += nats
        for character, nats in zip(line[:LONGEST], of_place, strict=True):
            shown = character if character.isprintable() else "·"
            right = left + pen.textlength(shown, font)
            rest = round(255 * (1 - min(1.0, 2 * nats / full)))
            pen.rectangle((left, top, right, top + ROW - 3), (255, rest, rest))
            pen.text((left, top), shown, "black", font)
            left = right
    return picture
