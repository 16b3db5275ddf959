"""What each command does. Results go to the output stream, what is said about them beside them too."""

import argparse
import csv
import dataclasses
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amostra.answers import Model, Scores
from amostra.cli import files, show
from amostra.client import Client

Command = Callable[[Client, argparse.Namespace], None]
_MOST_NAMED = 3
_BARS = " ▁▂▃▄▅▆▇█"


def models(client: Client, asked: argparse.Namespace) -> None:
    """A table of all, or all about one."""
    if asked.name is None:
        found = client.models("all" if asked.all else "ready")
        if asked.json:
            return _json([dataclasses.asdict(one) for one in found])
        rows = [(m.id, m.version, m.state, _tasks(m), m.problem or m.description or "") for m in found]
        return show.table(("model", "version", "state", "does (* by default)", "about"), rows)
    one = client.model(asked.name)
    if asked.json:
        return _json(dataclasses.asdict(one))
    manifest = one.manifest or {}
    show.pairs(
        {
            "model": f"{one.id}@{one.version} ({one.state})",
            "about": one.description,
            "problem": one.problem,
            "family": one.family,
            "does (* by default)": _tasks(one),
            "samplers": ", ".join(one.samplers),
            "classes": ", ".join(manifest.get("data", {}).get("class_names", [])),
            **{
                m["metric"]: f"{m['value']:.4g} {m.get('unit', '')}".strip() + f" on {m['data']}"
                for m in manifest.get("evaluation", [])
            },
        }
    )


def _tasks(model: Model) -> str:
    return ", ".join(f"{task}*" if task in model.default_for else task for task in model.tasks)


def draw(client: Client, asked: argparse.Namespace) -> None:
    """Pictures of a class, or the way from seed to seed."""
    outlet = show.Outlet(asked)
    outlet.put(client.generate(asked.what, seeds=asked.seeds, **_drawing(asked)))


def sample(client: Client, asked: argparse.Namespace) -> None:
    """Rows of a table, or the way from seed to seed: printed, or saved."""
    found = client.sample(**_said(asked, "model", "n", "seed", "seeds", "label"))
    if asked.json:
        for row in found.rows:
            _json({"model": found.model, "seed": found.seed, "row": row})
        return
    written = io.StringIO()
    lines = csv.DictWriter(written, list(found.rows[0]), lineterminator="\n")
    lines.writeheader()
    lines.writerows(found.rows)
    if asked.output is None:
        show.text(written.getvalue())
        return
    Path(asked.output).write_text(written.getvalue(), encoding="utf-8", newline="")
    seed = " → ".join(map(str, found.seeds)) or found.seed
    count = f"{len(found.rows)} rows" if len(found.rows) > 1 else "1 row"
    print(f"{count} by {found.model}, seed {seed} → {asked.output}")


def clean(client: Client, asked: argparse.Namespace) -> None:
    """Pictures without their noise."""
    outlet = show.Outlet(asked)
    outlet.put(client.denoise(_paths(asked), sigma=asked.sigma, model=asked.model))


def restore(client: Client, asked: argparse.Namespace) -> None:
    """Pictures with what was done to them undone."""
    outlet = show.Outlet(asked)
    outlet.put(client.restore(_paths(asked), sigma=asked.sigma, model=asked.model))


def edit(client: Client, asked: argparse.Namespace) -> None:
    """A picture of which a part is drawn anew."""
    outlet = show.Outlet(asked)
    mask = None if asked.mask is None else Path(asked.mask)
    outlet.put(client.edit(Path(asked.file), mask, asked.what, **_drawing(asked)))


def score(client: Client, asked: argparse.Namespace) -> None:
    """A line for each item; with --explain what in it is strange."""
    for group in files.groups(asked):
        found = client.score(
            group.items,
            model=asked.model,
            alpha=asked.alpha,
            fdr=asked.fdr,
            statistic=asked.statistic,
            explain=asked.explain,
        )
        if asked.json:
            for i, item in enumerate(found.items):
                _json({"file": group.name(i), "model": found.model, "statistic": found.statistic, **item})
        else:
            show.table(("item", found.statistic, "p-value", "is", "strange"), _scored(group, found))
        if asked.explain and group.pictures is not None and show.has_place_for_overlay(asked):
            show.overlay(client.overlay(group.pictures, model=asked.model), asked)


def embed(client: Client, asked: argparse.Namespace) -> None:
    """Vectors into a file, or a line for each item."""
    found = list(files.groups(asked))
    if asked.output is not None and len(found) > 1:
        raise ValueError("-o: expected items of one kind, found several: embed them one after the other")
    for group in found:
        embeddings = client.embed(group.items, model=asked.model)
        count, size = embeddings.vectors.shape
        if asked.output is not None:
            with Path(asked.output).open("wb") as out:
                np.save(out, embeddings.vectors)
            if not asked.json:
                print(f"{count} vectors of {size} numbers by {embeddings.model} → {asked.output}")
        for i, vector in enumerate(embeddings.vectors.tolist()):
            if asked.json:
                _json({"file": group.name(i), "model": embeddings.model, "embedding": vector})
            elif asked.output is None:
                print(group.name(i), *(f"{value:.6g}" for value in vector), sep="\t")


def write(client: Client, asked: argparse.Namespace) -> None:
    """A text as it is written."""
    wishes = _said(asked, "model", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop")
    if asked.echo:
        wishes["echo"] = True
    if asked.json:
        return _json(dataclasses.asdict(client.complete(asked.prompt, **wishes)))
    last = ""
    with client.complete_stream(asked.prompt, **wishes) as pieces:
        for piece in pieces:
            last = show.text(piece.text) or last
    if sys.stdout.isatty() and not last.endswith("\n"):
        print()


def drift(client: Client, asked: argparse.Namespace) -> None:
    """The p-values of a model of late."""
    found = client.drift(asked.model)
    if asked.json:
        return _json(dataclasses.asdict(found))
    most = max(found.histogram or [0]) or 1
    bars = "".join(_BARS[-(-8 * count // most)] for count in found.histogram or [])
    show.pairs(
        {
            "model": f"{found.model}@{found.version}",
            "looked at": f"{found.size} items, the last {found.window} at most",
            "distance from uniform": None if found.ks is None else f"{found.ks:.3g}",
            "likely by chance": None if found.significance is None else f"{found.significance:.2g}",
            "mean p-value": None if found.mean_p_value is None else f"{found.mean_p_value:.3g}",
            **{f"p ≤ {alpha}": f"{share:.2%}" for alpha, share in (found.flagged or {}).items()},
            "p from 0 to 1": bars,
        }
    )


def _scored(group: files.Group, found: Scores) -> Sequence[Sequence[str]]:
    rows = []
    for i, item in enumerate(found.items):
        p, anomalous = item["p_value"], item["is_anomaly"]
        verdict = "" if anomalous is None else "unusual" if anomalous else "normal"
        name = "" if p is None else f"{p:.3g}"
        rows.append((group.name(i), f"{item['score']:.4g}", name, verdict, _strangest(item.get("surprise"))))
    return rows


def _strangest(surprise: Any) -> str:
    """The columns or tokens that surprise most; of pictures the overlay says it."""
    if isinstance(surprise, Mapping):
        named = list(surprise.items())
    elif isinstance(surprise, list) and surprise and isinstance(surprise[0], Mapping):
        named = [(repr(part["token"]), part["surprise"]) for part in surprise]
    else:
        return ""
    most = sorted(named, key=lambda pair: pair[1], reverse=True)[:_MOST_NAMED]
    return ", ".join(f"{name} {value:.3g}" for name, value in most)


def _drawing(asked: argparse.Namespace) -> Any:
    return _said(asked, "model", "label", "n", "seed", "steps", "sampler", "guidance", "temperature")


def _said(asked: argparse.Namespace, *names: str) -> Any:
    return {name: value for name in names if (value := getattr(asked, name)) is not None}


def _paths(asked: argparse.Namespace) -> Sequence[Path]:
    return [Path(name) for name in asked.files]


def _json(content: Any) -> None:
    print(json.dumps(content, default=np.ndarray.tolist))
