"""What the graphs of a model take, made of its own held-out data: whole rows, as a server would batch them.

rows = HeldOut.of(manifest, data_root).rows(Capability.SCORE, None, 64)
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from contract import Capability, Manifest
from service.engine.job import Arrays
from service.tasks.tokens import width_of
from training.data import load
from training.degradation import degraded
from training.family import Batch, Source
from training.recipe import DataConfig

SIDES = (64, 176)
"""Of images whose sides are free."""


@dataclass(frozen=True)
class HeldOut:
    """A model's held-out items, of which there may be fewer than rows: then they come again. Each `draw` has others, and
    another randomness."""

    manifest: Manifest
    items: Source
    draw: int = 0

    @classmethod
    def of(cls, manifest: Manifest, data_root: Path | None) -> "HeldOut":
        """Raises DataError where the data is not there."""
        assert manifest.provenance is not None, "a shipped model says what it was trained on"
        data = load(DataConfig.model_validate(manifest.provenance.hyper_parameters["data"]), data_root)
        return cls(manifest, (data.encoded or data).calibration)

    def shapes(self, capability: Capability) -> tuple[int | None, ...]:
        """The widths that texts are padded to, the sides of images that have any, or None where a row has one shape."""
        text = self.manifest.text
        if text is not None and capability is not Capability.NEXT_TOKEN:
            given = capability is not Capability.ENCODE  # the first token of a text that is scored is
            return tuple(sorted({width_of(n, text.context) + given for n in range(1, text.context + 1)}))
        return SIDES if None in self.manifest.data.shape else (None,)

    def rows(self, capability: Capability, shape: int | None, count: int) -> Arrays:
        """So many rows of a graph's inputs, each with a randomness of its own; `shape` is one of `shapes`."""
        names = {tensor.name for tensor in self.manifest.capabilities[capability].inputs}
        generator = torch.Generator().manual_seed(self.draw)
        made = self._of_items(capability, shape, count, generator)
        if latent := self.manifest.latent:
            made["z"] = torch.randn(count, latent.size, generator=generator)
        made["label"] = torch.randint(len(self.manifest.data.class_names) or 1, (count,), generator=generator)
        return {name: made[name].numpy() for name in names}

    def texts(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """What `next_token` reads: tokens (count, context), and how many of each row are there before a step."""
        pixels, context = self.manifest.pixels, self.manifest.context
        items, generator = self._items(count), torch.Generator().manual_seed(self.draw)
        if pixels is None:
            ids = items["input_ids"][:, :context]
        else:
            levels = (items["x"].flatten(1) * (pixels.levels - 1)).round().long()
            ids = torch.cat([torch.full((count, 1), pixels.start_token), levels], dim=1)[:, :context]
        return ids.numpy(), torch.randint(2, ids.shape[1], (count,), generator=generator).numpy()

    def _items(self, count: int) -> Batch:
        """Of pictures every other one is noise, of greys or of black and white: bits may depend on the batch in strange ones
        only."""
        items = self.items.at(torch.arange(self.draw * count, (self.draw + 1) * count) % len(self.items))
        if "x" in items and items["x"].dim() == 4:
            noise = torch.randint(256, items["x"].shape, generator=torch.Generator().manual_seed(self.draw)) / 255
            noise[1::4] = noise[1::4].round()
            items["x"][1::2] = noise[1::2]
        return items

    def _of_items(self, capability: Capability, shape: int | None, count: int, generator: torch.Generator) -> Batch:
        manifest, items = self.manifest, self._items(count)
        if "input_ids" in items:
            assert shape is not None, "texts have widths"
            ids = F.pad(items["input_ids"], (0, shape))[:, :shape]
            whole = items.get("lengths", torch.full((count,), shape)).clamp(2, shape)
            some = 2 + (torch.rand(count, generator=generator) * (whole - 1)).long()
            return {"input_ids": ids.contiguous(), "lengths": some}
        x = items["x"] if shape is None else items["x"][..., :shape, :shape].contiguous()
        if capability is Capability.RECONSTRUCT and manifest.restoration is not None:
            spoilt = degraded(x, manifest.restoration, manifest.sigma_range, generator)
            if "sigma" in spoilt:
                spoilt["sigma"][::2] = -1  # not known
            return spoilt
        if capability is not Capability.DENOISE_STEP:
            return {"x": x}
        assert manifest.sigma_range is not None, "the contract asks for it"
        low, high = np.log(manifest.sigma_range)
        sigma = torch.exp(low + (high - low) * torch.rand(count, generator=generator))
        return {"x_t": x + sigma[:, None, None, None] * torch.randn(x.shape, generator=generator), "sigma": sigma}
