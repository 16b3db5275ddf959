"""Renew what the console blocks of pages print, with a service of the shipped models running, and the pictures that they save.

python -m tests.docs.consoles http://127.0.0.1:3000                 # of all pages but the tutorials
python -m tests.docs.consoles http://127.0.0.1:3000 docs/api.md     # of one
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from tests import readme
from tests.docs.pages import ROOT, blocks
from tests.docs.tutorials import walked


def asked() -> list[Path]:
    """The pages under docs/ whose consoles speak to the shipped models."""
    others = {*walked()}
    return [
        p
        for p in sorted((ROOT / "docs").rglob("*.md"))
        if p not in others and any(b.language == "console" for b in blocks(p))
    ]


def renew(page: Path, url: str) -> None:
    text = page.read_text("utf-8")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def block(match: re.Match) -> str:
            (steps,) = readme.blocks(match.group(0))
            return (
                "```console\n"
                + "".join(f"$ {s.command}\n{readme.run(f'set +o pipefail; {s.command}', url, folder)}" for s in steps)
                + "```"
            )

        page.write_text(readme.BLOCK.sub(block, text), "utf-8")
        for picture in folder.glob("*.png"):
            if f"pictures/{picture.name}" in text:
                shutil.copy(picture, ROOT / "docs" / "pictures" / picture.name)


if __name__ == "__main__":
    for path in [Path(name).resolve() for name in sys.argv[2:]] or asked():
        renew(path, sys.argv[1])
