"""What is inside, as CycloneDX: the Python packages that serve, and the Debian packages of an image where there is one.

make sbom       # writes report/sbom-python.json, report/sbom-image.json
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "report"
_LISTED = "${Package}\t${Version}\t${Architecture}\n"


def debian(listing: str, image: str) -> dict[str, Any]:
    """A document of the packages that dpkg-query lists: name, version and architecture, with tabs between them."""
    components = []
    for name, version, architecture in (line.split("\t") for line in listing.splitlines()):
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={architecture}"
        components.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    about = {"component": {"type": "container", "bom-ref": image, "name": image}}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": about,
        "components": sorted(components, key=lambda component: component["name"]),
    }


def packages_of(image: str) -> str | None:
    """What dpkg-query lists in an image; None where there is no engine or no such image."""
    if shutil.which("docker") is None:
        return None
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "dpkg-query", image, "-W", "-f", _LISTED]
    known = subprocess.run(["docker", "image", "inspect", image], capture_output=True)
    return None if known.returncode else subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description="What is inside, as CycloneDX.")
    parser.add_argument("environment", type=Path, help="the environment that serves")
    parser.add_argument("image", help="the image, if it was built")
    options = parser.parse_args()
    REPORT.mkdir(exist_ok=True)
    out = REPORT / "sbom-python.json"
    maker = Path(sys.executable).with_name("cyclonedx-py")
    command = [str(maker), "environment", str(options.environment), "--output-reproducible", "--of", "JSON"]
    subprocess.run([*command, "-o", str(out)], check=True)
    print(f"{out.relative_to(ROOT)}: {len(json.loads(out.read_text())['components'])} Python packages")
    listing = packages_of(options.image)
    if listing is None:
        print(f"{options.image} is not here (make image): its Debian packages are not listed")
        return
    found = debian(listing, options.image)
    out = REPORT / "sbom-image.json"
    out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"{out.relative_to(ROOT)}: {len(found['components'])} Debian packages")


if __name__ == "__main__":
    main()
