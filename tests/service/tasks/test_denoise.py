"""Denoise: any size goes in and the same size comes out; the noise level reaches the graph."""

import numpy as np
import pytest

from contract import Capability
from service.engine.job import Call, RowCall
from service.errors import Invalid, ModelFailed
from service.model import LoadedModel
from service.samplers.noise_level import estimate_sigma
from service.tasks.denoise import check_sigma, denoise
from tests.service.tasks.drive import drive, on
from tests.toys.directories import DENOISER, DIFFUSION
from tests.toys.graphs import GAUSSIAN_STD, class_means


@pytest.fixture
def model(models: dict[str, LoadedModel]) -> LoadedModel:
    return models[DENOISER]


def noisy(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


def blurred(images: np.ndarray, weight: float) -> np.ndarray:
    """What the toy does, written out: a box blur with zeros outside, mixed in by weight."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = images.shape[2:]
    shifts = [padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return images + weight * (np.mean(shifts, axis=0) - images)


@pytest.mark.parametrize("sigma", [None, 0.0, 0.1, 0.2])
def test_the_noise_level_reaches_the_graph(model: LoadedModel, sigma: float | None) -> None:
    images = noisy(2, 1, 8, 10)
    clean = drive(denoise(model, images, sigma), on(model)).images
    assert clean.shape == images.shape
    assert np.allclose(clean, blurred(images, 0.5 if sigma is None else 4 * sigma), atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (7, 8), (8, 7), (5, 9), (1, 1), (1, 8), (2, 1)])
def test_every_size_comes_back_in_its_own_size(model: LoadedModel, size: tuple[int, int]) -> None:
    """The toy's graph takes even sides only: odd ones are extended and cut again."""
    images = noisy(1, 1, *size)
    clean = drive(denoise(model, images, 0.1), on(model)).images
    assert clean.shape == images.shape
    assert np.isfinite(clean).all()


def test_odd_sides_are_extended_by_reflection(model: LoadedModel) -> None:
    images = noisy(1, 1, 5, 7)
    calls: list[RowCall] = []

    def answer(call: Call) -> dict[str, np.ndarray]:
        assert isinstance(call, RowCall)
        calls.append(call)
        return {"x_hat": call.inputs["x"]}

    clean = drive(denoise(model, images, None), answer).images
    assert np.array_equal(clean, images)
    assert np.array_equal(calls[0].inputs["x"], np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 1)), "reflect"))


def test_pixels_outside_of_the_range_go_in_and_come_out_clipped(model: LoadedModel) -> None:
    images = noisy(1, 1, 6, 6) * 4 - 2
    clean = drive(denoise(model, images, 0.1), on(model)).images
    assert np.allclose(clean, blurred(images, 0.4).clip(0, 1), atol=1e-5)


def test_each_image_is_treated_alone(model: LoadedModel) -> None:
    images = noisy(5, 1, 6, 6)
    together = drive(denoise(model, images, 0.1), on(model)).images
    for i in range(5):
        assert np.array_equal(drive(denoise(model, images[i : i + 1], 0.1), on(model)).images[0], together[i])


def test_pixels_that_are_no_numbers_are_not_sent(model: LoadedModel) -> None:
    with pytest.raises(ModelFailed, match="no numbers"):
        drive(denoise(model, noisy(1, 1, 4, 4), None), lambda call: {"x_hat": np.full((1, 1, 4, 4), np.inf)})


@pytest.mark.parametrize("sigma", [None, 0.0, 55 / 255])
def test_noise_levels_of_the_manifest_s_range_are_taken(model: LoadedModel, sigma: float | None) -> None:
    check_sigma(model, sigma)


@pytest.mark.parametrize("sigma", [0.3, 25.0, -0.1, -1.0])
def test_others_are_refused_with_the_range(model: LoadedModel, sigma: float) -> None:
    with pytest.raises(Invalid, match=r"from 0 to 0\.2157 for images in \[0, 1\]") as caught:
        check_sigma(model, sigma)
    assert caught.value.field == "sigma"


class TestDiffusion:
    """A diffusion model denoises in one evaluation of D(x; sigma)."""

    MEAN = class_means(10, 8)[10]

    @pytest.fixture
    def model(self, models: dict[str, LoadedModel]) -> LoadedModel:
        return models[DIFFUSION]

    def images(self, sigma: float, count: int = 6) -> np.ndarray:
        """Of the toy's distribution, with noise; no class."""
        rng = np.random.default_rng(0)
        return (self.MEAN + np.hypot(GAUSSIAN_STD, sigma) * rng.standard_normal((count, 1, 8, 8))).astype(np.float32)

    @pytest.mark.parametrize("sigma", [0.01, 0.3, 20.0])
    def test_a_given_level_gives_the_mean_of_what_may_lie_behind(self, model: LoadedModel, sigma: float) -> None:
        images = self.images(sigma)
        done = drive(denoise(model, images, sigma), on(model))
        expected = self.MEAN + GAUSSIAN_STD**2 / (GAUSSIAN_STD**2 + sigma**2) * (images - self.MEAN)
        assert np.allclose(done.images, expected.clip(0, 1), atol=1e-5)
        assert done.sigma.tolist() == [sigma] * 6
        assert not done.estimated

    def test_without_one_it_is_estimated_for_each_image(self, model: LoadedModel) -> None:
        images = np.concatenate([self.images(0.3), self.images(2.0)])
        calls: list[RowCall] = []

        def answer(call: Call) -> dict[str, np.ndarray]:
            assert isinstance(call, RowCall)
            calls.append(call)
            return on(model)(call)

        done = drive(denoise(model, images, None), answer)
        assert done.estimated
        assert done.sigma.tolist() == estimate_sigma(images).tolist()
        assert done.sigma[6:].min() > done.sigma[:6].max()
        (call,) = calls
        assert call.capability is Capability.DENOISE_STEP
        assert call.inputs["sigma"] == pytest.approx(done.sigma)
        assert call.inputs["label"].tolist() == [10] * 12

    def test_an_estimate_stays_within_the_model_s_range(self, model: LoadedModel) -> None:
        flat, loud = np.zeros((1, 1, 8, 8), np.float32), 1000 * self.images(1.0, 1)
        done = drive(denoise(model, np.concatenate([flat, loud]), None), on(model))
        assert done.sigma.tolist() == [0.01, 20.0]

    @pytest.mark.parametrize("sigma", [0.0, 0.005, 21.0])
    def test_levels_out_of_range_are_refused(self, model: LoadedModel, sigma: float) -> None:
        with pytest.raises(Invalid, match=r"from 0\.01 to 20\.0000"):
            check_sigma(model, sigma)

    def test_pixels_that_are_no_numbers_are_not_sent(self, model: LoadedModel) -> None:
        with pytest.raises(ModelFailed, match="no numbers"):
            drive(denoise(model, self.images(0.1), None), lambda call: {"x0": np.full((6, 1, 8, 8), np.nan)})


def test_a_model_of_one_evaluation_says_nothing_of_the_level(model: LoadedModel) -> None:
    for sigma in (None, 0.1):
        assert drive(denoise(model, noisy(1, 1, 4, 4), sigma), on(model)).sigma is None


class TestLargeImages:
    """They are cut into tiles; nobody can see where."""

    @pytest.mark.parametrize("size", [(608, 609), (609, 20), (1121, 640), (1500, 2)])
    def test_the_answer_is_that_of_the_whole_image(self, model: LoadedModel, size: tuple[int, int]) -> None:
        images = noisy(1, 1, *size)
        clean = drive(denoise(model, images, 0.2), on(model)).images
        # An odd side is extended by reflection, and only there the reference's zeros outside show.
        inside = np.s_[:, :, : size[0] - size[0] % 2, : size[1] - size[1] % 2]
        even = np.pad(images, ((0, 0), (0, 0), (0, size[0] % 2), (0, size[1] % 2)), "reflect")
        assert np.abs(clean[inside] - blurred(even, 0.8)[inside].clip(0, 1)).max() < 1e-5

    @pytest.mark.parametrize("size", [(500, 608), (700, 800), (609, 1217), (1120, 1121)])
    def test_what_lies_near_a_cut_is_not_kept(self, model: LoadedModel, size: tuple[int, int]) -> None:
        """A graph that spoils 40 pixels along each side of what it is given spoils the sides of the image alone."""
        images = noisy(1, 1, *size)
        shapes = set()

        def answer(call: Call) -> dict[str, np.ndarray]:
            assert isinstance(call, RowCall)
            shapes.add(call.inputs["x"].shape)
            spoiled = np.zeros_like(call.inputs["x"])
            inside = np.s_[:, :, 40:-40, 40:-40]
            spoiled[inside] = call.inputs["x"][inside]
            return {"x_hat": spoiled}

        clean = drive(denoise(model, images, None), answer).images
        assert np.array_equal(clean[:, :, 41:-41, 41:-41], images[:, :, 41:-41, 41:-41])
        assert len(shapes) == 1, "tiles of one size can share a batch"
        assert all(np.prod(shape) <= 609 * 609 for shape in shapes)
