"""Run tutorials as they stand, with the recipes' own numbers of steps, say how long each takes, and renew what they print.

python -m tests.docs.tutorials              # all of docs/tutorials/, and docs/add-a-family.md
python -m tests.docs.tutorials table text   # some
python -m tests.docs.tutorials --renew      # and write what was printed into the pages, and the pictures beside the others
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.environments import environment
from tests import readme
from tests.docs.checkout import Checkout
from tests.docs.pages import ROOT, blocks

TUTORIALS = ROOT / "docs" / "tutorials"
OPTIMUM = "optimum"
"""The page that needs an environment of its own, and the environment's name."""
REQUIREMENTS = Path(__file__).with_name("optimum.txt")
FAMILY = ROOT / "docs" / "add-a-family.md"
PICTURES = ROOT / "docs" / "pictures"


def walked() -> list[Path]:
    """The pages whose blocks are steps, from the first to the last."""
    return [FAMILY, *sorted(TUTORIALS.glob("*.md"))]


def run(page: Path, renew: bool) -> float:
    """The seconds that it took."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        checkout = Checkout(Path(name) / "amostra")
        try:
            text = page.read_text("utf-8")
            for block in blocks(page):
                if renew and block.language == "console":
                    (steps,) = readme.blocks(f"```console\n{block.body}```\n")
                    new = "".join(f"$ {s.command}\n{checkout.shell(s.command, block)}" for s in steps)
                    text = text.replace(f"```console\n{block.body}```", f"```console\n{new}```")
                else:
                    checkout.run(block)
            page.write_text(text, "utf-8")
            for picture in checkout.folder.glob("*.png"):
                if renew and f"../pictures/{picture.name}" in text:
                    shutil.copy(picture, PICTURES / picture.name)
        finally:
            checkout.stop()
    return time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pages", nargs="*", help="names of pages in docs/tutorials/; all of them where none is given")
    parser.add_argument("--renew", action="store_true", help="write what the commands print into the pages")
    options = parser.parse_args()
    for page in walked():
        if page.stem in options.pages or not options.pages:
            if page.stem == OPTIMUM:
                environment(OPTIMUM, REQUIREMENTS)
            print(f"{page.stem}: {run(page, options.renew):.0f} s", flush=True)


if __name__ == "__main__":
    main()
