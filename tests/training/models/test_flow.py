"""The flow is a bijection with the Jacobian that its density says, its densities integrate to one, and it exports."""

import copy
import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from contract import Capability
from training.data.images import Images, synthetic_images
from training.family import DataSummary, OptimizerConfig
from training.graphs import open_session, write_graph
from training.layers.coarse_to_fine import FLOOR, CoarseToFine
from training.layers.grey_spline import BINS, LEVELS, GreySpline
from training.models.flow import Flow

TINY = Flow.Config(widths=(8,), depth=1, coarse_width=16)


def random_flow(side, widths=(8,)):
    """Every weight random, so that no branch is silent; float64."""
    torch.manual_seed(0)
    flow = CoarseToFine(side, widths, depth=1, coarse_width=16).double()
    for parameter in flow.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return flow


def tiny() -> Flow:
    """For 2×4 images, float32, every weight random."""
    torch.manual_seed(0)
    family = Flow(TINY, DataSummary("image", (1, 2, 4)))
    for parameter in family.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return family.eval()


def grey_images(number, seed=0):
    return torch.randint(LEVELS, (number, 1, 2, 4), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("side", "widths"), [((4, 4), (8,)), ((4, 8), (8, 8)), ((3, 5), ())])
def test_inverse_undoes_forward(side, widths):
    flow = random_flow(side, widths)
    x = LEVELS * torch.rand(5, 1, *side, dtype=torch.float64)
    assert torch.allclose(flow.inverse(flow(x)), x, atol=1e-2)  # within a hundredth of a grey level
    z = torch.randn(5, 1, *side, dtype=torch.float64)
    assert torch.allclose(flow(flow.inverse(z)), z, atol=1e-3)


@pytest.mark.parametrize("side", [(16, 16), (28, 28)])
def test_float32_gives_back_the_grey_levels_of_any_picture(side):
    """Noise and pictures that fool the density, too: every weight is random, every level somewhere improbable."""
    flow = random_flow(side, (8, 8)).float()
    noise = torch.randint(LEVELS, (8, 1, *side), generator=torch.Generator().manual_seed(0))
    even = torch.arange(0, LEVELS, 15).view(-1, 1, 1, 1).expand(-1, 1, *side)
    x = torch.cat([noise, even, noise % 4, LEVELS - 1 - noise % 4]).float() + 0.5
    assert (flow.inverse(flow(x)) - x).abs().max() < 0.1


def test_no_grey_level_is_lost_between_two_float32_latents():
    spline = GreySpline(FLOOR)
    torch.nn.init.normal_(spline.share_logits, std=0.3)
    raw = 20 * torch.randn(64, 1, BINS, generator=torch.Generator().manual_seed(0)).expand(-1, LEVELS, -1)
    x = (torch.arange(LEVELS) + 0.5).expand(64, -1)
    z = spline(x, raw)
    assert (z.diff(dim=1) > 0).all()
    assert (spline.inverse(z, raw) - x).abs().max() < 0.25


@pytest.mark.parametrize(("side", "widths"), [((4, 4), (8,)), ((4, 4), (8, 8)), ((2, 3), ())])
def test_the_density_is_the_priors_times_the_jacobians_determinant(side, widths):
    flow = random_flow(side, widths)
    x = LEVELS * torch.rand(1, 1, *side, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda flat: flow(flat.view_as(x)).flatten(), x.flatten())  # (D, D)
    expected = Normal(0.0, 1.0).log_prob(flow(x)).sum() + torch.linalg.slogdet(jacobian).logabsdet
    assert flow.log_prob_map(x).sum().item() == pytest.approx(expected.item(), abs=1e-4)


def test_the_density_of_two_pixels_integrates_to_one():
    flow = random_flow((1, 2), ())
    level = torch.arange(LEVELS, dtype=torch.float64) + 0.5
    centres = torch.cartesian_prod(level, level).view(-1, 1, 1, 2)
    assert flow.log_prob_map(centres).exp().prod(-1).sum().item() == pytest.approx(1, abs=1e-6)


def test_a_pixel_depends_on_the_levels_of_those_before_it_and_on_nothing_else():
    flow, x = random_flow((2, 2)), torch.tensor([[[[3.5, 90.5], [17.5, 240.5]]]], dtype=torch.float64)
    order = torch.tensor([0, 3, 1, 2])

    def moved(by):
        """Which z change with each pixel, both from the coarse to the fine."""
        others = x + by * torch.eye(4, dtype=torch.float64).view(4, 1, 2, 2)
        return ((flow(others) - flow(x)).abs() > 1e-9).flatten(1)[order][:, order]

    assert torch.equal(moved(8.0), torch.ones(4, 4, dtype=torch.bool).triu())
    assert torch.equal(moved(0.25), torch.eye(4, dtype=torch.bool))  # within its level


@pytest.mark.parametrize("floor", [0.0, FLOOR])
def test_the_splines_density_is_one_over_the_grey_levels(floor):
    torch.manual_seed(0)
    spline, raw = GreySpline(floor).double(), 3 * torch.randn(BINS, dtype=torch.float64)
    torch.nn.init.normal_(spline.share_logits)
    x = torch.arange(LEVELS, dtype=torch.float64) + 0.25
    assert spline.log_prob(x, raw.expand(LEVELS, -1)).exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_samples_have_the_density_that_they_are_scored_with():
    """The mean score of samples is minus the entropy, which one pixel's density gives in closed form."""
    flow = random_flow((1, 1), ())
    level = torch.arange(LEVELS, dtype=torch.float64).view(-1, 1, 1, 1) + 0.5
    log_prob = flow.log_prob_map(level).flatten()
    samples = flow.inverse(torch.randn(20_000, 1, 1, 1, dtype=torch.float64))
    assert flow.log_prob_map(samples).mean().item() == pytest.approx((log_prob.exp() * log_prob).sum().item(), abs=0.05)
    found = torch.bincount(samples.flatten().long(), minlength=LEVELS) / len(samples)
    assert (found - log_prob.exp()).abs().max() < 0.02


def test_a_few_steps_of_training_lower_the_bits():
    pixels, labels = synthetic_images(64, seed=0)
    torch.manual_seed(0)
    family = Flow(Flow.Config(widths=(8, 8), depth=1, coarse_width=32), DataSummary("image", (1, 28, 28)))
    (optimizer,), generator = (
        family.optimizers("model", OptimizerConfig(learning_rate=1e-2)),
        torch.Generator().manual_seed(0),
    )
    batch = Images(pixels, labels).at(torch.arange(64))
    losses = []
    for _ in range(12):
        loss, _ = family.loss("model", batch, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in family.parameters())
    assert losses[-1] < losses[0] - 0.2


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The tiny flow's graphs as written through the parity gate, and sessions on them."""
    place, pixels = tmp_path_factory.mktemp("flow"), grey_images(24).to(torch.uint8)
    held_out = Images(pixels, torch.zeros(len(pixels), dtype=torch.int64))
    graphs = {g.capability: write_graph(g, held_out, place, (1, 2, 3, 8)) for g in tiny().graphs()}
    return graphs, {capability: open_session(place / graph.file) for capability, graph in graphs.items()}


def test_the_graphs_agree_with_torch_and_are_exact_densities(exported):
    graphs, _ = exported
    assert set(graphs) == {Capability.LOG_DENSITY, Capability.ENCODE, Capability.DECODE}
    assert graphs[Capability.LOG_DENSITY].density == "exact"
    for graph in graphs.values():
        assert graph.parity.max_abs_diff <= graph.parity.tolerance
        assert graph.batch_invariance.max_abs_diff == 0


@pytest.mark.parametrize("capability", [Capability.LOG_DENSITY, Capability.ENCODE])
def test_the_bits_of_a_row_do_not_depend_on_its_batch(exported, capability):
    session = exported[1][capability]
    grey = grey_images(64, seed=1) / (LEVELS - 1)
    x = torch.where(torch.arange(64).view(-1, 1, 1, 1) < 32, grey, grey.round()).numpy()
    alone = [session.run(None, {"x": x[i : i + 1]}) for i in range(64)]
    for size in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64):
        rows = np.random.default_rng(size).permutation(64)
        for first in range(0, 64, size):
            batch = rows[first : first + size]
            for output, values in enumerate(session.run(None, {"x": x[batch]})):
                assert np.array_equal(values, np.concatenate([alone[i][output] for i in batch]))


def test_the_graphs_score_by_parts_and_decode_what_they_encode(exported):
    sessions = exported[1]
    z = torch.randn(16, 8, generator=torch.Generator().manual_seed(2)).numpy()
    x = np.round(sessions[Capability.DECODE].run(["x"], {"z": z})[0] * 255) / np.float32(255)
    log_prob, parts = sessions[Capability.LOG_DENSITY].run(["log_prob", "log_prob_map"], {"x": x})
    assert parts.shape == x.shape
    assert np.allclose(parts.sum((1, 2, 3)), log_prob, atol=1e-3)
    (z,) = sessions[Capability.ENCODE].run(["embedding"], {"x": x})
    (again,) = sessions[Capability.DECODE].run(["x"], {"z": z})
    assert np.abs(again - x).max() < 0.1 / (LEVELS - 1)
    noise = (grey_images(16, seed=4) / (LEVELS - 1)).numpy()
    (z,) = sessions[Capability.ENCODE].run(["embedding"], {"x": noise})
    assert np.abs(sessions[Capability.DECODE].run(["x"], {"z": z})[0] - noise).max() < 0.1 / (LEVELS - 1)


def test_what_was_decoded_has_the_latents_that_it_was_decoded_from(exported):
    """Where a pixel is neither black nor white: beyond the centres of those two levels a picture has no values."""
    sessions = exported[1]
    z = torch.randn(16, 8, generator=torch.Generator().manual_seed(5)).numpy()
    (x,) = sessions[Capability.DECODE].run(["x"], {"z": z})
    (again,) = sessions[Capability.ENCODE].run(["embedding"], {"x": x})
    inside = ((x > 0) & (x < 1)).reshape(z.shape)
    assert inside.mean() > 0.5
    assert np.abs(again - z)[inside].max() < 1e-2


def test_the_score_is_the_dequantised_density_in_nats_per_grey_level(exported):
    """Uniform noise within the cell, given as x off the grid, leaves the score as it is: the density is flat in it."""
    session, family = exported[1][Capability.LOG_DENSITY], tiny()
    k = grey_images(16, seed=3)
    (centre,) = session.run(["log_prob"], {"x": (k / (LEVELS - 1)).numpy()})
    noise = 0.98 * torch.rand(k.shape, generator=torch.Generator().manual_seed(0)) - 0.49
    (noisy,) = session.run(["log_prob"], {"x": ((k + noise).clamp(0, LEVELS - 1) / (LEVELS - 1)).numpy()})
    assert np.array_equal(noisy, centre)
    bits = family.bits_per_dim(k / (LEVELS - 1)).detach().numpy()
    assert np.allclose(-centre / (k[0].numel() * math.log(2)), bits, rtol=1e-5)


def test_odd_sides_are_refused():
    with pytest.raises(ValueError, match=r"sides in multiples of 4"):
        Flow(TINY.model_copy(update={"widths": (8, 8)}), DataSummary("image", (1, 6, 6)))


def test_what_is_fused_for_export_is_the_same_flow():
    flow, x = random_flow((4, 4)), LEVELS * torch.rand(3, 1, 4, 4, dtype=torch.float64)
    assert torch.equal(copy.deepcopy(flow).fused().log_prob_map(x), flow.log_prob_map(x))
