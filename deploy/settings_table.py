"""The table of settings in docs/deploy.md, from service/settings.py.

python -m deploy.settings_table     # writes it anew
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETTINGS, PAGE = ROOT / "service/settings.py", ROOT / "docs/deploy.md"
BEGIN, END = "<!-- settings:begin -->\n", "<!-- settings:end -->\n"


def rows() -> Iterator[tuple[str, str, str]]:
    """Variable, default as it stands in the code, and meaning; several fields may share the meaning after the last."""
    tree = ast.parse(SETTINGS.read_text("utf-8"))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Settings")
    waiting: list[tuple[str, str]] = []
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            waiting.append((f"AMOSTRA_{node.target.id.upper()}", ast.unparse(node.value)))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and waiting:
            meaning = " ".join(str(node.value.value).split())
            yield from ((name, default, meaning) for name, default in waiting)
            waiting = []


def table() -> str:
    """The table as Markdown."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{name}` | `{default}` | {meaning.replace('|', chr(92) + '|')} |" for name, default, meaning in rows()
    ]
    return "\n".join(lines) + "\n"


def renewed(page: str) -> str:
    """The page with the table as it is now."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + table() + END + tail


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")
