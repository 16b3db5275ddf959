"""The flow of tables is a bijection with the Jacobian that its density says, its density integrates to one, it exports."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from contract import Capability
from training.data.tables import Rows
from training.family import DataSummary, OptimizerConfig
from training.graphs import open_session, write_graph
from training.models.table_flow import TableFlow

KINDS = [{"mixing": mixing, "tails": tails} for mixing in ("permutation", "linear") for tails in ("normal", "heavy")]


def rows(columns: int, number: int = 400) -> torch.Tensor:
    """Correlated, of different scales, one of them of integers."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(number, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    x = x * torch.linspace(1, 5, columns) + 2
    x[:, -1] = x[:, -1].round()
    return x


def random_flow(columns: int, **changes) -> TableFlow:
    """Every weight random, so that no branch is silent."""
    torch.manual_seed(0)
    config = TableFlow.Config(**{"layers": 3, "bins": 4, "width": 16, "depth": 1, **changes})
    family = TableFlow(config, DataSummary("vector", (columns,)))
    family.prepare(Rows(rows(columns)))
    for parameter in family.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return family.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [2, 5])
def test_inverse_undoes_forward(kind, columns):
    flow, x = random_flow(columns, **kind).flow.double(), rows(columns, 50).double()
    assert torch.allclose(flow.inverse(flow.embedding(x)), x, atol=1e-6)
    z = torch.randn(50, columns, dtype=torch.float64)
    assert torch.allclose(flow.embedding(flow.inverse(z)), z, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_is_the_priors_times_the_jacobians_determinant(kind):
    flow, x = random_flow(5, **kind).flow.double(), rows(5, 1).double() + 0.1
    jacobian = torch.autograd.functional.jacobian(lambda row: flow.embedding(row[None])[0], x[0])  # (D, D)
    expected = Normal(0.0, 1.0).log_prob(flow.embedding(x)).sum() + torch.linalg.slogdet(jacobian).logabsdet
    assert flow.log_prob(x).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("mixing", ["permutation", "linear"])
def test_the_density_of_two_columns_integrates_to_one(mixing):
    flow, steps = random_flow(2, mixing=mixing).flow.double(), 1200
    somewhere = flow.inverse(6 * (2 * torch.rand(20_000, 2, dtype=torch.float64) - 1))
    low, high = somewhere.amin(0), somewhere.amax(0)  # a box with all the mass
    axes = [torch.linspace(a, b, steps, dtype=torch.float64) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
    with torch.no_grad():
        mass = sum(flow.log_prob(part).exp().sum() for part in torch.cartesian_prod(*axes).split(250_000))
    cell = (high - low).prod() / (steps - 1) ** 2
    assert (mass * cell).item() == pytest.approx(1, abs=5e-3)


def test_samples_have_the_density_that_they_are_scored_with():
    """Importance weights of samples, against any other density, have a mean of one."""
    flow = random_flow(2).flow.double()
    x = flow.inverse(torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    other = torch.distributions.MultivariateNormal(x.mean(0), 0.5 * x.T.cov())  # narrower: its weights are bounded
    weights = (other.log_prob(x) - flow.log_prob(x)).exp()
    assert weights.mean().item() == pytest.approx(1, abs=0.05)


def test_cells_are_of_integers_or_a_grain():
    family = TableFlow(TableFlow.Config(grain=0.1), DataSummary("vector", (3,)))
    x = rows(3)
    family.prepare(Rows(x))
    assert torch.allclose(family.cell, torch.tensor([0.1 * x[:, 0].std(), 0.1 * x[:, 1].std(), 1.0]))


def test_a_constant_column_and_a_column_of_zeros_have_a_density():
    x = rows(4)
    x[:, 0], x[:350, 3] = 7.0, 0.0
    for tails in ("normal", "heavy"):
        family = TableFlow(TableFlow.Config(tails=tails), DataSummary("vector", (4,)))
        family.prepare(Rows(x))
        assert family.flow.log_prob(x).isfinite().all()


def test_a_few_steps_of_training_lower_the_nats_and_reach_every_weight():
    torch.manual_seed(0)
    family = TableFlow(TableFlow.Config(layers=3, width=16, depth=1, mixing="linear"), DataSummary("vector", (5,)))
    x = rows(5)
    family.prepare(Rows(x))
    (optimizer,), losses = family.optimizers("model", OptimizerConfig(learning_rate=1e-2)), []
    for _ in range(30):
        loss, _ = family.loss("model", {"x": x}, torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    for name, parameter in family.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0 or "second" in name, name


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    place, x = tmp_path_factory.mktemp("flow"), rows(5, 64)
    family = random_flow(5, layers=2, tails="heavy", mixing="linear")
    graphs = {g.capability: write_graph(g, Rows(x), place, (1, 2, 3, 7, 16, 32)) for g in family.graphs()}
    return family, x, graphs, {capability: open_session(place / graph.file) for capability, graph in graphs.items()}


def test_the_graphs_agree_with_torch_in_any_batch(exported):
    family, x, graphs, sessions = exported
    assert graphs[Capability.LOG_DENSITY].density == "exact"
    for graph in graphs.values():
        assert graph.parity.max_abs_diff <= graph.parity.tolerance
    assert graphs[Capability.LOG_DENSITY].batch_invariance.max_abs_diff == 0
    (log_prob,) = sessions[Capability.LOG_DENSITY].run(["log_prob"], {"x": x.numpy()})
    with torch.no_grad():
        assert np.abs(family.flow.double().log_prob(x.double()).numpy() - log_prob).max() < 1e-3
    family.flow.float()


def test_the_graphs_decode_what_they_encode(exported):
    _, x, _, sessions = exported
    (z,) = sessions[Capability.ENCODE].run(["embedding"], {"x": x.numpy()})
    (again,) = sessions[Capability.DECODE].run(["x"], {"z": z})
    assert np.abs(again - x.numpy()).max() < 1e-3 * x.abs().max()


def test_images_and_single_columns_are_refused():
    for data in (DataSummary("image", (1, 4, 4)), DataSummary("vector", (1,))):
        with pytest.raises(ValueError, match=r"data\.shape: expected vectors of 2 numbers or more, found"):
            TableFlow(TableFlow.Config(), data)
