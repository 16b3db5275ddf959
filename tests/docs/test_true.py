"""What the pages say of families, figures, graphs, manifests and routes is what the code says."""

import re
import tomllib
from functools import partial

import pytest
from pydantic import BaseModel

from contract import SIGNATURES
from contract.manifest import (
    Agreement,
    Calibration,
    Column,
    Data,
    Graph,
    Latent,
    Manifest,
    Measurement,
    Pixels,
    Provenance,
    Restoration,
    Sampling,
    Scoring,
    Text,
)
from service import errors
from service.api.routes import ROUTES
from service.loading import load_model
from service.sessions import ModelRefused
from service.settings import FOREIGN, PREFIX, Settings
from tests.docs import figures
from tests.docs.pages import ROOT, anchors
from tests.toys import directories
from tests.toys.broken import BROKEN, Breakage, edit_manifest
from training.evaluate import renew_table
from training.recipe import FAMILIES, RECIPES

FAMILIES_PAGE, CONTRACT, API = (ROOT / "docs" / f"{name}.md" for name in ("families", "contract", "api"))


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


def test_figures_are_those_of_the_manifests() -> None:
    text = figures.PAGE.read_text("utf-8")
    assert figures.renewed(text) == text, "python -m tests.docs.figures renews them"


def test_the_readme_has_the_table_that_evaluate_writes(tmp_path) -> None:
    page, copy = ROOT / "README.md", tmp_path / "README.md"
    copy.write_text(page.read_text("utf-8"), "utf-8")
    renew_table(copy, ROOT / "exported")
    assert copy.read_text("utf-8") == page.read_text("utf-8"), "python -m training evaluate renews it"


def test_every_family_has_its_paragraph_and_no_other_has_one() -> None:
    families = {path.stem for path in FAMILIES.glob("*.py")} - {"__init__"}
    described = anchors(FAMILIES_PAGE)
    assert families <= described
    assert {name for name in described if "-" not in name} == families


def test_recipes_that_the_pages_name_exist() -> None:
    recipes = {path.stem for path in RECIPES.glob("*.toml")}
    for page in (ROOT / "docs").rglob("*.md"):
        made = set(re.findall(r"training/recipes/([\w-]+)\.toml <<", page.read_text("utf-8")))
        named = set(re.findall(r"training run ([\w-]+)", page.read_text("utf-8")))
        assert named <= recipes | made, page


@pytest.mark.parametrize("capability", SIGNATURES)
def test_the_contract_names_every_port(capability: str) -> None:
    rows = [row for row in CONTRACT.read_text("utf-8").splitlines() if row.startswith(f"| `{capability}`")]
    signature = SIGNATURES[capability]
    ports = (*signature.inputs, *signature.outputs, *signature.alternative, *signature.alternative_outputs)
    said = set().union(*(quoted(row) for row in rows))
    assert said - {capability} == {port.name for port in ports}


def test_the_contract_names_every_field_of_the_manifest() -> None:
    said = quoted(CONTRACT.read_text("utf-8"))
    parts: tuple[type[BaseModel], ...] = (Manifest, Graph, Agreement, Data, Column, Latent, Text, Pixels)
    parts += (Restoration, Sampling, Scoring, Calibration, Measurement, Provenance)
    for part in parts:
        assert set(part.model_fields) <= said, part.__name__
    first = re.search(r"## The manifest\n.*?\n\n(\|.*?)\n\n", CONTRACT.read_text("utf-8"), re.S)
    assert first
    names = {name for row in first[1].splitlines()[2:] for name in quoted(row.split("|")[1])}
    assert names == set(Manifest.model_fields)


def test_the_api_names_every_route_and_no_other() -> None:
    said = set(re.findall(r"`((?:GET|POST|DELETE) /[^`]*)`", API.read_text("utf-8").split("## In and out")[0]))
    assert said - {"GET /docs", "GET /openapi.json"} == {f"{r.method} {r.path}" for r in ROUTES} - {
        "GET /docs",
        "GET /openapi.json",
    }


def test_the_api_names_every_error() -> None:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.AmostraError)]
    said = set(re.findall(r"^\| (\d{3}) \| `(\w+)` \|", API.read_text("utf-8"), re.M))
    assert said == {(str(k.status), k.code) for k in kinds} - {("499", "client_gone")}


def _other_size(manifest: dict) -> None:
    (output,) = manifest["capabilities"]["decode"]["outputs"]
    output["shape"] = ["batch", 1, 9, 9]


def _other_input(manifest: dict) -> None:
    manifest["capabilities"]["decode"]["inputs"][0]["name"] = "noise"


def _one_row(manifest: dict) -> None:
    manifest["capabilities"]["decode"]["inputs"][0]["shape"][0] = 1


def _no_prior(manifest: dict) -> None:
    del manifest["latent"]


def test_refusals_that_the_tutorial_shows_are_said(tmp_path) -> None:
    said = []
    changes = (_other_size, _other_input, _one_row, _no_prior)
    changed = [Breakage(directories.write_generator, partial(edit_manifest, change=c), ()) for c in changes]
    for number, case in enumerate([*BROKEN.values(), *changed]):
        directory = case.write(tmp_path / str(number))
        case.spoil(directory)
        with pytest.raises(ModelRefused) as caught:
            load_model(directory, Settings(provider="cpu"), "cpu")
        said.append(str(caught.value))
    page = (ROOT / "docs/tutorials/onnx.md").read_text("utf-8").split("| said | do |")[1]
    shown = re.findall(r"^\| `([^`]+)` \|", page, re.M)
    assert len(shown) > 5
    for message in shown:
        parts = [re.escape(part.strip()) for part in re.sub(r"\b(spots/1|decode\.onnx)", "…", message).split("…")]
        assert any(re.search(".*".join(parts), refusal, re.S) for refusal in said), message


def test_settings_that_the_pages_name_exist() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | FOREIGN
    others = {"AMOSTRA_URL", "AMOSTRA_API_KEY"}  # the client's
    others |= set(re.findall(r"\$\{(AMOSTRA_\w+)", (ROOT / "docker-compose.yml").read_text("utf-8")))
    for page in (ROOT / "docs").rglob("*.md"):
        if page.name != "LOG.md":
            assert set(re.findall(r"\bAMOSTRA_[A-Z_]+[A-Z]\b", page.read_text("utf-8"))) <= known | others, page


def test_versions_that_the_pages_name_are_ours() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for page in (ROOT / "docs").rglob("*.md"):
        for version in re.findall(r"\bamostra:(\d+\.\d+\.\d+)", page.read_text("utf-8")):
            assert version == project["version"], page
