"""The table of figures in docs/families.md, as the manifests of the shipped models have them.

python -m tests.docs.figures     # renew it
"""

from contract import Manifest, read_manifest
from tests.docs.pages import ROOT
from training.evaluate import headline

PAGE = ROOT / "docs" / "families.md"
BEGIN, END = "<!-- figures:begin -->\n", "<!-- figures:end -->"


def manifests() -> list[Manifest]:
    found = [read_manifest(path.parent) for path in (ROOT / "exported").glob("*/*/manifest.json")]
    return sorted(found, key=lambda m: (m.family, m.name))


def table() -> str:
    lines = ["| family | model | measured |", "|---|---|---|"]
    lines += [f"| `{m.family}` | `{m.name}` | {headline(m)} |" for m in manifests() if m.evaluation]
    return "\n".join(lines) + "\n"


def renewed(text: str) -> str:
    """The page with the table of now."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")
