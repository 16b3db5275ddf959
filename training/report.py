"""One page about all exported models: what they do, how well, how large they are, and where they come from.

The page is self-contained: pictures are in it, and it asks for nothing from elsewhere.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from contract import Capability, Manifest, read_manifest
from training.evaluate import EvaluationError, headline, megabytes

TEMPLATE = Path(__file__).with_suffix(".html")


@dataclass(frozen=True)
class _Entry:
    """What the template needs of a model; `sheet` is a PNG in base64, empty where there is none."""

    manifest: Manifest
    headline: str
    megabytes: float
    kilobytes: dict[Capability, int]
    sheet: str


def write_report(exported: Path, output: Path) -> int:
    """Write the page and return how many models are on it.

    Raises EvaluationError where there is none, ManifestError where one cannot be read.
    """
    models = [_entry(path.parent) for path in sorted(exported.glob("*/*/manifest.json"))]
    if not models:
        raise EvaluationError(f"--exported: expected models in {exported}, found none")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.tests["match"] = lambda name, beginning: name.startswith(beginning)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page.render(models=models, megabytes=sum(m.megabytes for m in models)), encoding="utf-8")
    return len(models)


def _entry(directory: Path) -> _Entry:
    manifest = read_manifest(directory)
    sheet = (directory / manifest.sheet.file).read_bytes() if manifest.sheet else b""
    sizes = {
        capability: round(sum((directory / ref.file).stat().st_size for ref in (graph, *graph.external_data)) / 1000)
        for capability, graph in manifest.capabilities.items()
    }
    return _Entry(manifest, headline(manifest), megabytes(directory, manifest), sizes, base64.b64encode(sheet).decode())
