"""The Markdown pages of the repository: their code blocks, headings and links.

What a fence promises, on every page under docs/:

| fence     | the tests                                                                                        |
|-----------|--------------------------------------------------------------------------------------------------|
| `console` | run each line that begins with `$ ` beside a service, and compare what it prints                 |
| `python`  | run it beside a service; the blocks of a page share their names                                  |
| `sh`      | in tutorials: run it, block by block, in a fresh checkout. Elsewhere it is for machines           |
|           | that a test does not have (containers, clusters): its syntax, targets, modules and files are true |
| `json`, `toml`, `yaml` | read it                                                                             |
| `text`, none | show it: an illustration, or an output that is another one on every machine                   |
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=indent)(?P=fence) *$", re.M | re.S
)
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.M)
_LINK = re.compile(
    r"(?<!\\)!?\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+(?:\([^)]*\))?)(?: +\"[^\"]*\")?\)"
)
_CODE = re.compile(r"(`+)(?:(?!`).|(?!\1)`)+?\1")


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is where its fence stands."""

    page: Path
    line: int
    language: str
    body: str

    @property
    def id(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every Markdown page of the repository, not of environments in it."""
    found = [
        *ROOT.glob("*.md"),
        *(p for p in ROOT.glob("*/**/*.md") if not p.relative_to(ROOT).parts[0].startswith(".")),
    ]
    return sorted(p for p in found if "node_modules" not in p.parts)


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(page, text.count("\n", 0, m.start()) + 1, (m["info"].split() or [""])[0], m["body"])
        for m in _FENCE.finditer(text)
    ]


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text("utf-8"))):
        words = _LINK.sub(lambda m: m["text"], heading).replace("`", "").replace("*", "")
        name = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        number, free = 0, name
        while free in found:
            number += 1
            free = f"{name}-{number}"
        found.add(free)
    return found


def links(page: Path) -> list[tuple[int, str]]:
    """Targets of links and pictures with the lines that they stand in; what is in code is none."""
    text = _FENCE.sub(lambda m: "\n" * m.group(0).count("\n"), page.read_text("utf-8"))
    text = _CODE.sub("code", text)
    return [(text.count("\n", 0, m.start()) + 1, m["target"]) for m in _LINK.finditer(text)]
