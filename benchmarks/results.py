"""`RESULTS.md`: one section of each benchmark, renewed in place, with all that one needs to measure it again.

A section stands between two comments; what others wrote between theirs, and what people wrote outside, stays.
"""

import argparse
import datetime
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from benchmarks import stamps
from benchmarks.harness import Comparison

RESULTS = Path(__file__).parent / "RESULTS.md"

_PREFACE = """# Benchmarks

Written by the scripts of `benchmarks/`; `make bench` runs all of them. Ratios are medians over the rounds of one run, in
which both sides take turns, with the least and the greatest in brackets. Every number was measured on the machine and at the
commit that its section names; a '+' means with changes that the commit has not. Graphs go by the first digits of their SHA-256.
"""


def parse(doc: str, rounds: int, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments that every benchmark takes: `rounds` and `quick`."""
    return parser(doc, rounds, f"rounds of each comparison (default {rounds})").parse_args(arguments)


def parser(doc: str, rounds: int, about_rounds: str) -> argparse.ArgumentParser:
    """A parser of those arguments, for benchmarks that take others too."""
    stamps.begin()
    made = argparse.ArgumentParser(description=doc.splitlines()[0])
    made.add_argument("--rounds", type=int, default=rounds, help=about_rounds)
    made.add_argument("--quick", action="store_true", help="see that it runs: little work, and no results are written")
    return made


def installed(*names: str) -> dict[str, str]:
    """The versions of Python and of these distributions in this environment."""
    return {"Python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def publish(
    section: str,
    what: str,
    comparisons: Sequence[Comparison],
    versions: Mapping[str, str],
    notes: Sequence[str] = (),
    graphs: Mapping[str, str] | None = None,
    path: Path = RESULTS,
) -> None:
    """Renew one section of the page, and print it. `what` says in a sentence or two what was done; `graphs` are those of the
    models that were run, by `stamps.graphs`."""
    text = _section(section, what, comparisons, versions, notes, graphs or {})
    print(text)
    page = path.read_text(encoding="utf-8") if path.exists() else _PREFACE
    path.write_text(renewed(page, section, text), encoding="utf-8")


def renewed(page: str, section: str, text: str) -> str:
    """The page with `text` between the section's markers, which are put at its end where there are none."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before, found, rest = page.partition(begin)
    if not found:
        return f"{page.rstrip()}\n\n{begin}\n{text}\n{end}\n"
    _, closed, after = rest.partition(end)
    if not closed:
        raise ValueError(f"{section}: the page has {begin} but not {end}: put it back")
    return f"{before}{begin}\n{text}\n{end}{after}"


def _section(
    section: str,
    what: str,
    comparisons: Sequence[Comparison],
    versions: Mapping[str, str],
    notes: Sequence[str],
    graphs: Mapping[str, str],
) -> str:
    lines = [f"## {section.replace('_', ' ').capitalize()}", "", what, ""]
    lines += ["| comparison | ours | peer | ratio (spread) | bar | met |", "|---|---|---|---|---|---|"]
    lines += [_row(compared) for compared in comparisons]
    lines += ["", *(f"- {note}" for note in notes), *([""] if notes else [])]
    rounds = " or ".join(map(str, sorted({len(compared.ratios) for compared in comparisons})))
    at = stamps.measured_at(stamps.begin(), stamps.commit())
    lines.append(f"`{command()}`, {rounds} rounds, {datetime.date.today().isoformat()}, commit {at};")
    lines.append(f"{machine()}; {_listed(versions)}.")
    if graphs:
        lines.append(f"Graphs: {_listed(graphs)}.")
    return "\n".join(lines)


def _listed(named: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in named.items())


def _row(compared: Comparison) -> str:
    low, high = compared.spread
    unit = f" {compared.unit}" if compared.unit else ""
    sign = "≥" if compared.bound == "at least" else "≤"
    bar = "—" if compared.bar is None else f"{sign} {compared.bar:g}×"
    met = {None: "—", True: "yes", False: "**no**"}[compared.met]
    return (
        f"| {compared.name} | {compared.ours}: {_number(compared.our_figure)}{unit} "
        f"| {compared.peer}: {_number(compared.peer_figure)}{unit} "
        f"| {compared.ratio:.2f}× ({low:.2f}–{high:.2f}) | {bar} | {met} |"
    )


def _number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def command() -> str:
    """How this process was started, with names instead of paths."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = f"-m {spec.name.removesuffix('.__main__')}" if spec else Path(sys.argv[0]).name
    return " ".join(["python", name, *sys.argv[1:]])


def machine() -> str:
    """Cores and processor of this machine, without its name."""
    return f"{len(os.sched_getaffinity(0))} cores, {_processor()}, {platform.system()} {platform.machine()}"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or "an unnamed processor"
