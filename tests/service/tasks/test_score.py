"""Score: log-densities are the graph's, p-values keep their promise, long texts add up."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contract import Capability
from contract.manifest import Density
from service.engine.job import Call, RowCall
from service.errors import ModelFailed
from service.loading import load_model
from service.model import LoadedModel
from service.settings import Settings
from service.tasks.score import UNSURE, conditional, discoveries, p_values, score_samples, score_texts
from service.tasks.tokens import tokenize
from tests.service.tasks.drive import drive, on
from tests.toys import directories
from tests.toys.directories import CHARACTERS, CONTEXT, DENSITY, DETECTOR, START, TABLE, WRITER, normal_images
from tests.toys.graphs import gaussian_log_prob


class TestPValues:
    def test_formula(self) -> None:
        calibration = np.array([1.0, 2.0, 2.0, 3.0])
        scores = np.array([0.0, 1.0, 1.5, 2.0, 3.0, 9.0])
        assert (p_values(scores, calibration) * 5).tolist() == pytest.approx([1, 2, 2, 4, 5, 5])

    def test_is_what_counting_says(self) -> None:
        rng = np.random.default_rng(0)
        calibration = np.sort(rng.integers(0, 20, 99).astype(float))
        scores = rng.integers(-2, 23, 200).astype(float)
        counted = [(1 + sum(c <= s for c in calibration)) / 100 for s in scores]
        assert p_values(scores, calibration).tolist() == pytest.approx(counted)

    def test_never_zero_and_never_above_one(self) -> None:
        p = p_values(np.array([-1e30, 1e30]), np.zeros(9))
        assert p.tolist() == [0.1, 1.0]

    @pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
    def test_false_alarms_are_as_rare_as_promised(self, alpha: float) -> None:
        """Over many calibration sets, an item drawn like them is flagged with probability alpha at most."""
        rng = np.random.default_rng(1)
        size, rounds, items = 199, 400, 50
        flagged = 0
        for _ in range(rounds):
            calibration = np.sort(rng.standard_t(3, size))
            flagged += int((p_values(rng.standard_t(3, items), calibration) <= alpha).sum())
        share = flagged / (rounds * items)
        spread = math.sqrt(alpha * (1 - alpha) / rounds / items) + alpha / math.sqrt(rounds * size * alpha)
        assert alpha - 1 / (size + 1) - 4 * spread < share < alpha + 4 * spread

    def test_uniform_for_items_like_the_calibration(self) -> None:
        rng = np.random.default_rng(2)
        draws = np.array([p_values(rng.normal(size=1), np.sort(rng.normal(size=19)))[0] for _ in range(4000)])
        counts = np.bincount(np.rint(draws * 20).astype(int), minlength=21)[1:]
        chi_square = ((counts - 200) ** 2 / 200).sum()
        assert chi_square < 43.8  # 0.1% of the time by chance, 19 degrees of freedom


class TestDiscoveries:
    def test_formula(self) -> None:
        p = np.array([0.01, 0.9, 0.03, 0.02, 0.5])
        assert discoveries(p, 0.05).tolist() == [True, False, True, True, False]  # 0.03 <= 0.05 * 3 / 5
        assert discoveries(p, 0.04).tolist() == [False] * 5  # 0.01 > 0.04 / 5, 0.02 > 0.08 / 5, 0.03 > 0.12 / 5
        assert discoveries(p, 0.045).tolist() == [False] * 5

    def test_a_later_small_one_saves_those_before_it(self) -> None:
        assert discoveries(np.array([0.04, 0.045, 0.049]), 0.05).tolist() == [True] * 3

    @pytest.mark.parametrize("fdr", [0.1, 0.3])
    def test_the_share_of_false_ones_is_as_small_as_promised(self, fdr: float) -> None:
        """Over many calibration sets and batches with a quarter of anomalies."""
        rng = np.random.default_rng(3)
        shares = []
        for _ in range(600):
            calibration = np.sort(rng.normal(size=499))
            items = np.concatenate([rng.normal(size=60), rng.normal(-4, 1, size=20)])
            flagged = discoveries(p_values(items, calibration), fdr)
            shares.append(flagged[:60].sum() / max(1, flagged.sum()))
        spread = np.std(shares) / math.sqrt(len(shares))
        assert np.mean(shares) < fdr * 60 / 80 + 4 * spread
        assert np.mean(shares) > 0.2 * fdr, "it would be easy to flag nothing"


class TestConditional:
    def test_is_what_the_definition_says(self) -> None:
        n, k = 1001, 500
        for j in (1, 2, 10, 100, 500, 502, 503, 1001):
            i = n + 1 - j
            product = math.prod((i - m) / (n - m) for m in range(k)) if i >= k else 0
            expected = 1 - (UNSURE * product) ** (1 / k)
            assert conditional(np.array([j / (n + 1)]), n)[0] == pytest.approx(expected)
        assert conditional(np.array([1.0]), n)[0] == 1

    def test_no_share_is_larger_for_nine_calibration_sets_in_ten(self) -> None:
        """The true share of normal scores as low as each calibration score is uniform order statistics."""
        rng, size, rounds = np.random.default_rng(4), 1000, 1000
        bounds = conditional(np.arange(1, size + 1) / (size + 1), size)
        good = np.mean([(np.sort(rng.random(size)) <= bounds).all() for _ in range(rounds)])
        assert good > 1 - UNSURE - 4 * math.sqrt(UNSURE / rounds)
        assert good < 0.97, "it would be easy to promise nothing"

    def test_few_scores_are_left_what_they_can_say(self) -> None:
        p = np.array([0.001, 0.5, 1.0])
        assert conditional(p, 999).tolist() == p.tolist()

    def test_false_ones_are_rare_for_nearly_every_calibration_set(self) -> None:
        """Batch after batch against one calibration set, for several such sets."""
        rng, shares = np.random.default_rng(5), []
        for _ in range(30):
            calibration = np.sort(rng.normal(size=1999))
            of_batches = []
            for _ in range(60):
                items = np.concatenate([rng.normal(size=60), rng.normal(-4, 1, size=20)])
                flagged = discoveries(conditional(p_values(items, calibration), 1999), 0.1)
                of_batches.append(flagged[:60].sum() / max(1, flagged.sum()))
            shares.append(np.mean(of_batches))
        assert np.mean(np.array(shares) <= 0.1) >= 1 - UNSURE
        assert np.mean(shares) > 0.02, "it would be easy to flag nothing"


class TestSamples:
    def test_images(self, models: dict[str, LoadedModel]) -> None:
        images = normal_images(20, seed=9)
        scores = drive(score_samples(models[DENSITY], images), on(models[DENSITY]))
        expected = gaussian_log_prob(images)
        assert scores.log_prob == pytest.approx(expected, abs=1e-3)
        assert scores.bits_per_dim == pytest.approx(-expected / 64 / math.log(2), abs=1e-5)
        assert scores.p_value == pytest.approx(p_values(expected, models[DENSITY].calibration[0]), abs=0.003)

    def test_normal_images_are_normal_and_others_are_not(self, models: dict[str, LoadedModel]) -> None:
        model = models[DENSITY]
        normal = drive(score_samples(model, normal_images(400, seed=5)), on(model)).p_value
        strange = drive(score_samples(model, np.zeros((3, 1, 8, 8), np.float32)), on(model)).p_value
        assert 0.02 < (normal <= 0.05).mean() < 0.09
        assert strange.tolist() == [1 / 500] * 3

    def test_vectors_without_calibration_have_no_p_value(self, models: dict[str, LoadedModel]) -> None:
        rows = np.random.default_rng(0).normal(0.5, 0.1, (7, 3)).astype(np.float32)
        scores = drive(score_samples(models[TABLE], rows), on(models[TABLE]))
        assert scores.log_prob == pytest.approx(gaussian_log_prob(rows), abs=1e-4)
        assert scores.p_value is None
        assert scores.dimensions.tolist() == [3] * 7

    @pytest.mark.parametrize("density", ["energy", "critic"])
    def test_what_is_no_density_has_no_bits_but_p_values(self, tmp_path: Path, density: Density) -> None:
        model = load_model(directories.write_density(tmp_path, density=density), Settings(provider="cpu"), "cpu")
        images = normal_images(5, seed=9)
        scores = drive(score_samples(model, images), on(model))
        assert scores.bits_per_dim is None
        assert scores.log_prob == pytest.approx(gaussian_log_prob(images), abs=1e-3)
        assert scores.p_value is not None

    def test_a_log_probability_that_is_no_number_is_not_sent(self, models: dict[str, LoadedModel]) -> None:
        def answer(call: Call) -> dict[str, np.ndarray]:
            return {"log_prob": np.array([0.0, np.nan], np.float32)}

        with pytest.raises(ModelFailed, match="item 1"):
            drive(score_samples(models[TABLE], np.zeros((2, 3), np.float32)), answer)

    def test_nor_is_a_surprise_that_is_none(self, models: dict[str, LoadedModel]) -> None:
        model = models[DETECTOR]
        shape = model.manifest.data.shape

        def answer(call: Call) -> dict[str, np.ndarray]:
            return {"normality": np.zeros((1, 2), np.float32), "surprise": np.full((1, *shape), np.inf, np.float32)}

        with pytest.raises(ModelFailed, match="surprise"):
            drive(score_samples(model, np.zeros((1, *shape), np.float32), explain=True), answer)


@pytest.fixture
def writer(models: dict[str, LoadedModel]) -> LoadedModel:
    return models[WRITER]


def random_text(length: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list(CHARACTERS), length))


def token_by_token(model: LoadedModel, ids: np.ndarray) -> float:
    """Each token's log-probability by a call of its own, in windows of the context."""
    answer = on(model)
    sequence = [START, *ids.tolist()]
    total = 0.0
    for at in range(1, len(sequence)):
        start = (at - 1) // CONTEXT * CONTEXT
        row = np.array([sequence[start : at + 1]])
        call = RowCall(Capability.LOG_DENSITY, {"input_ids": row, "lengths": np.array([row.shape[1]])})
        total += float(answer(call)["log_prob_map"][0, -1])
    return total


class TestTexts:
    @pytest.mark.parametrize("length", [1, 2, CONTEXT - 1, CONTEXT, CONTEXT + 1, 2 * CONTEXT, 3 * CONTEXT + 5])
    def test_windows_add_up_to_the_sum_over_tokens(self, writer: LoadedModel, length: int) -> None:
        rows = tokenize(writer, [random_text(length, seed=length)], 10_000)
        scores = drive(score_texts(writer, rows), on(writer))
        assert scores.log_prob[0] == pytest.approx(token_by_token(writer, rows[0]), abs=1e-3)
        assert scores.dimensions.tolist() == [length]

    def test_texts_of_many_lengths_keep_their_order(self, writer: LoadedModel) -> None:
        lengths = [40, 1, 7, 33, 2, 100, 7]
        rows = tokenize(writer, [random_text(n, seed=i) for i, n in enumerate(lengths)], 10_000)
        together = drive(score_texts(writer, rows), on(writer))
        assert together.dimensions.tolist() == lengths
        for i, row in enumerate(rows):
            alone = drive(score_texts(writer, [row]), on(writer))
            assert alone.log_prob[0] == together.log_prob[i]
            assert alone.p_value[0] == together.p_value[i]

    def test_the_p_value_is_that_of_the_mean_over_tokens(self, writer: LoadedModel) -> None:
        rows = tokenize(writer, [random_text(50)], 10_000)
        scores = drive(score_texts(writer, rows), on(writer))
        assert scores.p_value == pytest.approx(p_values(scores.log_prob / 50, writer.calibration[0]))

    def test_the_probabilities_of_all_texts_of_a_length_add_up_to_one(self, writer: LoadedModel) -> None:
        pairs = [a + b for a in CHARACTERS for b in CHARACTERS]
        log_prob = drive(score_texts(writer, tokenize(writer, pairs, 10)), on(writer)).log_prob
        assert np.exp(log_prob).sum() == pytest.approx(1, abs=1e-4)

    def test_parts_are_summed_here_where_the_graph_gives_them(self, writer: LoadedModel) -> None:
        """A graph's own sum depends on the number of rows in its batch, by the last bits."""
        rows = tokenize(writer, ["To be, or not", "to be"], 100)
        answer = on(writer)

        def rounded(call: Call) -> dict[str, np.ndarray]:
            outputs = answer(call)
            return {**outputs, "log_prob": outputs["log_prob"] + 1e-3}

        exact = drive(score_texts(writer, rows), answer).log_prob
        assert np.array_equal(drive(score_texts(writer, rows), rounded).log_prob, exact)

        def without_parts(call: Call) -> dict[str, np.ndarray]:
            return {"log_prob": answer(call)["log_prob"]}

        assert drive(score_texts(writer, rows), without_parts).log_prob == pytest.approx(exact, abs=1e-4)

    def test_rows_come_in_few_widths(self, writer: LoadedModel) -> None:
        rows = tokenize(writer, [random_text(n) for n in range(1, 3 * CONTEXT)], 10_000)
        widths = set()

        def answer(call: Call) -> dict[str, np.ndarray]:
            assert isinstance(call, RowCall)
            assert call.inputs["input_ids"].shape[1] <= CONTEXT + 1
            assert (call.inputs["lengths"] >= 2).all()
            widths.add(call.inputs["input_ids"].shape[1])
            return {"log_prob": np.zeros(call.size, np.float32)}

        drive(score_texts(writer, rows), answer)
        assert len(widths) <= 4


class TestLines:
    """A model that scores whole lines by several statistics, their ends among them."""

    @pytest.fixture
    def lines(self, tmp_path: Path) -> LoadedModel:
        directory = directories.write_lines(tmp_path)
        return load_model(directory, Settings(models=tmp_path, provider="cpu"), "cpu")

    @pytest.mark.parametrize("length", [1, CONTEXT - 1, CONTEXT, CONTEXT + 1, 2 * CONTEXT, 3 * CONTEXT + 5])
    def test_a_line_has_its_end_and_is_as_strange_as_its_strangest_part(
        self, lines: LoadedModel, writer: LoadedModel, length: int
    ) -> None:
        text = random_text(length, seed=length)
        ended = tokenize(writer, [text + CHARACTERS[START]], 10_000)
        parts = -drive(score_texts(writer, ended, explain=True), on(writer)).surprise[0]
        scores = drive(score_texts(lines, tokenize(lines, [text], 10_000), explain=True), on(lines))
        assert scores.log_prob[0] == pytest.approx(parts.sum(), abs=1e-3)
        assert scores.normality[0].tolist() == pytest.approx([parts.sum(), parts.min()], abs=1e-3)
        assert scores.default == 1
        assert len(scores.surprise[0]) == length
        expected = [*parts[: length - 1], parts[length - 1 :].sum()]
        assert (-scores.surprise[0]).tolist() == pytest.approx(expected, abs=1e-4)

    def test_lines_of_many_lengths_keep_their_order(self, lines: LoadedModel) -> None:
        rows = tokenize(lines, [random_text(n, seed=i) for i, n in enumerate([40, 1, 7, 33, 100, 7])], 10_000)
        together = drive(score_texts(lines, rows, explain=True), on(lines))
        for i, row in enumerate(rows):
            alone = drive(score_texts(lines, [row], explain=True), on(lines))
            assert alone.normality[0].tolist() == together.normality[i].tolist()
            assert alone.surprise[0].tolist() == together.surprise[i].tolist()


def test_calibration_of_whole_items_is_not_divided(writer: LoadedModel) -> None:
    calibration = writer.manifest.calibration
    assert calibration is not None
    per_item = writer.manifest.model_copy(
        update={"calibration": calibration.model_copy(update={"statistic": "log_prob"})}
    )
    model = replace(writer, manifest=per_item)
    rows = tokenize(model, [random_text(50)], 100)
    assert drive(score_texts(model, rows), on(model)).p_value.tolist() == [1 / 200]
