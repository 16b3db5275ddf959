import copy
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from contract import Capability, read_manifest
from service.engine.sizes import BUCKETS
from training import half
from training.__main__ import main
from training.evaluate import BEGIN, END, table
from training.export import export
from training.family import GraphExport
from training.graphs import ExportRefused, sha256, write_graph
from training.loop import Trained

from .conftest import tiny


class Normal(nn.Module):
    """A standard normal density, and how far its log_prob is off."""

    def __init__(self, error=0.0):
        super().__init__()
        self.error = nn.Parameter(torch.tensor(error))

    def forward(self, x):  # (B, 3)
        return -0.5 * x.square().sum(-1) - 2.7568156 + self.error


class Points:
    """A hundred points, held out, no farther away than this."""

    def __init__(self, reach=2.0):
        self.reach = reach

    def __len__(self):
        return 100

    def at(self, indices, generator=None):
        return {"x": torch.linspace(-self.reach, self.reach, 300).unflatten(0, (100, 3))[indices]}


NORMAL = GraphExport(
    Capability.LOG_DENSITY,
    Normal(),
    example={"x": torch.zeros(2, 3)},
    outputs=("log_prob",),
    dynamic_shapes={"x": {0: "batch"}},
    inputs=lambda batch: batch,
    tolerance=1e-3,
    density="exact",
)


def test_the_parity_gate_passes_what_agrees_with_torch(tmp_path):
    graph = write_graph(NORMAL, Points(), tmp_path, (1, 2, 3, 8))
    assert graph.parity.max_abs_diff < 1e-5
    assert graph.parity.batch_sizes == (1, 2, 3, 8)
    assert graph.batch_invariance.max_abs_diff < 1e-5
    assert graph.sha256 == sha256(tmp_path / graph.file)
    assert b"metadata" not in (tmp_path / graph.file).read_bytes()
    assert b".py" not in (tmp_path / graph.file).read_bytes()  # no notes about source files


def test_rows_are_compared_with_themselves_at_every_size_that_a_server_gives_a_graph(tmp_path):
    graph = write_graph(NORMAL, Points(), tmp_path)
    assert {*graph.batch_invariance.batch_sizes} >= {*BUCKETS[1:]}
    assert graph.parity.batch_sizes == (1, 2, 3, 8, 16, 32)


class Shade(nn.Module):
    """A grey level of each value."""

    def forward(self, x):  # (B, 3)
        return x.sigmoid()


def test_float16_is_within_its_tolerance_for_grey_levels_and_not_for_nats(tmp_path):
    grey = dataclasses.replace(
        NORMAL, capability=Capability.ENCODE, module=Shade(), outputs=("embedding",), density=None
    )
    shade = write_graph(grey, Points(), tmp_path, (1, 8)).float16
    assert 0 < shade.max_abs_diff <= shade.tolerance == half.TOLERANCE
    assert shade.batch_sizes == (8,)
    density = write_graph(NORMAL, Points(20.0), tmp_path, (1, 8))
    assert density.float16.max_abs_diff > density.float16.tolerance
    assert density.parity.max_abs_diff < 1e-3  # of the file that is written


def test_no_float16_is_recorded_where_the_graph_cannot_be_turned_into_one(tmp_path, monkeypatch):
    def refused(model):
        raise half.NoFloat16("no")

    monkeypatch.setattr("training.graphs.rounded", refused)
    assert write_graph(NORMAL, Points(), tmp_path, (1,)).float16 is None


@pytest.mark.parametrize("error", [0.1, -0.1, torch.nan])
def test_the_parity_gate_refuses_what_differs_from_torch(error, tmp_path):
    broken = dataclasses.replace(NORMAL, reference=Normal(error))
    with pytest.raises(ExportRefused, match=r"log_density: ONNX Runtime differs from torch by .* tolerance is 0\.001"):
        write_graph(broken, Points(), tmp_path, (1, 3))


def test_a_graph_that_departs_from_its_signature_is_refused(tmp_path):
    with pytest.raises(ExportRefused, match="log_prob"):
        write_graph(dataclasses.replace(NORMAL, outputs=("log_probability",)), Points(), tmp_path, (1,))


def test_a_refused_model_leaves_nothing_behind(tiny_recipe, tiny_data, tiny_gpt, tmp_path):
    broken = copy.deepcopy(tiny_gpt)
    broken.head.weight.data[0, 0] = torch.nan
    with pytest.raises(ExportRefused):
        export(tiny_recipe, Trained(broken, 1, 1.0, "none"), tiny_data, tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_from_recipe_to_a_directory_that_the_contract_reads(tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- models:begin -->\nold\n<!-- models:end -->\nafter\n")
    places = ["--run-dir", f"{tmp_path}/run", "--exported", f"{tmp_path}/exported", "--readme", str(readme)]
    command = ["run", "shakespeare-gpt", *places, "--accelerator", "cpu", "--no-progress", *tiny()]
    assert main(command) == 0
    model = tmp_path / "exported" / "shakespeare-gpt" / "1"
    manifest = read_manifest(model)
    for reference in manifest.files():
        assert sha256(model / reference.file) == reference.sha256
    assert {p.name for p in model.iterdir()} == {"manifest.json", *(f.file for f in manifest.files())}
    scores = np.load(model / manifest.calibration.scores.file, allow_pickle=False)
    assert scores.dtype == np.float64
    assert len(scores) == manifest.calibration.size
    assert (np.diff(scores) >= 0).all()
    assert manifest.provenance.hyper_parameters["model"]["width"] == 32
    assert [figure.metric for figure in manifest.evaluation] == ["validation loss", "perplexity"]
    for figure in manifest.evaluation:
        assert figure.seed is None
        assert figure.note.endswith("each after the character before it; deterministic")
    page = readme.read_text()
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "`shakespeare-gpt`" in page
    assert "old" not in page

    assert main(["evaluate", str(model)]) == 0
    figure = json.loads(capsys.readouterr().out.splitlines()[-2])
    assert figure["value"] == pytest.approx(manifest.evaluation[0].value)


def test_the_table_of_the_working_directory_is_that_of_its_own_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page, old = tmp_path / "README.md", f"before\n{BEGIN}\nold\n{END}\nafter\n"
    page.write_text(old)
    assert main(["run", "shakespeare-gpt", "--accelerator", "cpu", "--no-progress", *tiny()]) == 0
    assert page.read_text() == f"before\n{BEGIN}\n{table(tmp_path / 'exported')}\n{END}\nafter\n"
    shutil.copytree("exported", "others")
    for text, model in ((old, "others/shakespeare-gpt/1"), ("no table\n", "exported/shakespeare-gpt/1")):
        page.write_text(text)
        assert main(["evaluate", model]) == 0
        assert page.read_text() == text


def test_mistakes_on_the_command_line_are_explained(tmp_path, capsys):
    assert main(["train", "shakespeare-gpt", "--data-root", str(tmp_path), "--run-dir", str(tmp_path)]) == 2
    assert "error: data root: expected tinyshakespeare/input.txt" in capsys.readouterr().err
    assert main(["run", "shakespeare-gpt", "--evaluate.metrics", '["luck"]']) == 2
    assert "unknown luck; known:" in capsys.readouterr().err
