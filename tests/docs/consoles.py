"""Renew what the console blocks of pages print, with a service of the shipped models running, and the pictures that they save.

python -m tests.docs.consoles http://127.0.0.1:3000                 # of all pages but the tutorials
python -m tests.docs.consoles http://127.0.0.1:3000 docs/api.md     # of one
"""

import sys
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


if __name__ == "__main__":
    for path in [Path(name).resolve() for name in sys.argv[2:]] or asked():
        readme.renew(sys.argv[1], path, refusals=True)
