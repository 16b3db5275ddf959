"""The client and its command against the real service and its models: what they are good for, end to end."""

import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from amostra import AsyncClient, Client
from tests.e2e.server import ROOT

PICTURES = ROOT / "docs/pictures"


def test_every_task_does_what_it_is_for(shipped_service: str) -> None:
    rng = np.random.default_rng(1)
    with Client(shipped_service) as client:
        sevens = client.generate("7", n=8, seed=1)
        assert sevens.images.shape == (8, 1, 28, 28)
        scores = client.score([PICTURES / f"{name}.png" for name in ("digit", "spoiled", "corner")], alpha=0.01)
        assert scores.is_anomaly is not None
        assert scores.is_anomaly.tolist() == [False, True, True]

        ones = client.generate("1", n=8, seed=1).images
        seven, one = (client.embed(images).vectors.mean(axis=0) for images in (sevens.images, ones))
        other = client.embed(client.generate("7", seed=99).images).vectors[0]
        assert np.linalg.norm(other - seven) < np.linalg.norm(other - one)

        clear = np.asarray(Image.open(PICTURES / "clean.png"), np.float32) / 255
        noisy = clear + rng.normal(0, 0.1, clear.shape).astype(np.float32)
        clean = client.denoise(noisy, sigma=0.1).images[0, 0]
        assert np.square(clean - clear).mean() < 0.3 * np.square(noisy - clear).mean()

        mask = np.zeros((28, 28))
        mask[14:] = 1
        edited = client.edit(sevens.images[0], mask, "7", n=2, seed=1).images
        np.testing.assert_allclose(edited[:, :, :14], np.stack([sevens.images[0, :, :14]] * 2), atol=1e-6)
        assert client.restore(PICTURES / "small.png", model="mnist-upscaler").images.shape == (1, 1, 28, 28)

        speech = client.complete("ROMEO:", max_tokens=40, seed=1)
        with client.complete_stream("ROMEO:", max_tokens=40, seed=1) as stream:
            assert "".join(piece.text for piece in stream) == speech.text
        nonsense = client.score(["To be, or not to be: that is the question.", "qzx vvv jjj kkq"], alpha=0.02)
        assert nonsense.is_anomaly is not None
        assert nonsense.is_anomaly.tolist() == [False, True]


def test_many_at_once_get_what_one_alone_gets(shipped_service: str) -> None:
    async def talk() -> None:
        async with AsyncClient(shipped_service) as client:
            alone = [(await client.generate("3", seed=seed)).images for seed in range(4)]
            crowd = await asyncio.gather(*(client.generate("3", seed=seed % 4) for seed in range(32)))
            for i, drawn in enumerate(crowd):
                np.testing.assert_array_equal(drawn.images, alone[i % 4])

    asyncio.run(talk())


def test_the_command_draws_the_sheet_that_the_service_draws(shipped_service: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "amostra", "--url", shipped_service, "draw", "--n", "100", "--seed", "1"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "digits.png")], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    drawn, shown = (np.asarray(Image.open(path), int) for path in (tmp_path / "digits.png", PICTURES / "digits.png"))
    assert np.abs(drawn - shown).max() <= 2
