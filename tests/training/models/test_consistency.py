"""The boundary condition, the pairs of levels, the loss at its optimum, the start from a teacher, and the graph."""

import pytest
import torch
from torch import nn

from contract import Capability, read_manifest
from training.data import load
from training.data.images import DIGITS, Images, synthetic_images
from training.export import export
from training.family import DataSummary
from training.loop import RunError, train
from training.models.consistency import Consistency
from training.models.diffusion import Diffusion
from training.recipe import load_recipe

SUMMARY = DataSummary("image", (1, 28, 28), class_names=DIGITS)
SIZE = {"widths": (16, 32), "blocks": 1, "embedding": 16}
CPU = {"accelerator": "cpu", "devices": 1}


def tiny(**changes) -> Consistency:
    """Every weight random, so that no branch of the network is silent."""
    torch.manual_seed(0)
    family = Consistency(Consistency.Config(**SIZE, **changes), SUMMARY)
    for parameter in family.parameters():
        nn.init.normal_(parameter, std=0.1)
    return family


@pytest.fixture(scope="module")
def images():
    return Images(*synthetic_images(64, seed=0))


@torch.no_grad()
def test_nothing_changes_at_sigma_min(images):
    family, batch = tiny(), images.at(torch.arange(4))
    lowest = torch.full((4,), family.config.sigma_min)
    torch.testing.assert_close(family.denoise(batch["x"], lowest, batch["label"]), batch["x"])
    assert not torch.allclose(family.denoise(batch["x"], 30 * lowest, batch["label"]), batch["x"], atol=1e-2)


def test_the_earlier_level_is_below_and_comes_closer_as_q_doubles():
    family, t = tiny(double_every=10), torch.logspace(-1.5, 1.3, 20)
    gaps = []
    for batches in (0, 10, 20):
        family.batches.fill_(batches)
        r = family.earlier(t)
        assert (r < t).all()
        assert (r >= family.config.sigma_min).all()
        gaps.append((t - r)[-1].item() / t[-1].item())
    assert gaps == pytest.approx([gaps[0], gaps[0] / 2, gaps[0] / 4])
    family.batches.fill_(10**6)
    assert family.ratio() == pytest.approx(family.config.last_ratio)


def test_the_loss_is_zero_for_a_function_that_is_constant_on_each_path(images):
    """f(y + sigma n; sigma) = y is not reachable, but one that always answers the same is consistent too."""

    class Constant(nn.Module):
        def forward(self, x_t, sigma, label):
            return torch.zeros_like(x_t)

    family = tiny()
    batch = images.at(torch.arange(16))
    before, _ = family.loss("model", batch, torch.Generator().manual_seed(0))
    family.denoise = Constant()
    family.denoise.sigma_data = torch.tensor(0.3)
    after, _ = family.loss("model", batch, torch.Generator().manual_seed(0))
    assert before > 1
    assert after == 0


def test_the_loss_falls_and_counts_its_batches(images):
    family = tiny(double_every=100)
    optimizer = torch.optim.Adam(family.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss, _ = family.loss("model", images.at(torch.arange(32)), torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]
    assert family.batches == 25
    assert all(p.grad is not None for name, p in family.named_parameters())


def test_it_starts_as_its_teacher_but_for_the_boundary(images):
    teacher = Diffusion(Diffusion.Config(**SIZE), SUMMARY)
    teacher.prepare(images)
    for parameter in teacher.parameters():
        nn.init.normal_(parameter, std=0.1)
    family, batch = tiny(), images.at(torch.arange(4))
    family.start_from(teacher)
    sigma = torch.tensor([0.5, 1.0, 3.0, 20.0])
    with torch.no_grad():
        ours, theirs = (f.denoise(batch["x"], sigma, batch["label"]) for f in (family, teacher))
    torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0)
    with pytest.raises(ValueError, match=r"model\.blocks: expected the teacher's, 2, found 1"):
        family.start_from(Diffusion(Diffusion.Config(**SIZE | {"blocks": 2}), SUMMARY))


def test_a_recipe_is_trained_from_its_teacher_and_exported(tmp_path):
    common = ["--data.dataset=synthetic-images", "--data.batch_size=8", "--model.widths=[16, 32]", "--model.blocks=1"]
    common += ["--train.precision=32-true", "--export.batch_sizes=[1, 3]", "--train.steps=3"]
    common += ["--train.validate_every=3", "--train.checkpoint_every_steps=3"]
    path = tmp_path / "teacher.toml"
    path.write_text(
        'name = "teacher"\nfamily = "diffusion"\ndescription = ""\nlicence = ""\n'
        '[data]\ndataset = "synthetic-images"\nbatch_size = 8\n[model]\nwidths = [16, 32]\nblocks = 1\n'
        "[train]\nsteps = 2\nvalidate_every = 2\n"
    )
    teacher = load_recipe(str(path))
    dataset = load(teacher.data, None)
    recipe = load_recipe("mnist-consistency", [*common, f"--model.teacher={path}", "--optimizer.learning_rate=0.0"])
    recipe = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"muon_learning_rate": 0.0})})
    with pytest.raises(RunError, match="train teacher` first"):
        train(recipe, dataset, tmp_path / "student", CPU, progress=False)
    taught = train(teacher, dataset, tmp_path / "teacher", CPU, progress=False)
    trained = train(recipe, dataset, tmp_path / "student", CPU, progress=False)
    weights = trained.family.denoise.state_dict()
    for name, expected in taught.family.denoise.state_dict().items():
        assert torch.equal(weights[name], expected), name
    manifest = read_manifest(export(recipe, trained, dataset, tmp_path))
    assert list(manifest.capabilities) == [Capability.DENOISE_STEP]
    assert manifest.capabilities[Capability.DENOISE_STEP].batch_invariance.max_abs_diff == 0
    assert manifest.sampling.samplers == ("consistency",)
    assert (manifest.sampling.steps, manifest.sampling.max_steps) == (1, 4)
