"""The images: pulled where a registry can be reached, and otherwise stand-ins made of Debian's packages.

A stand-in base takes over this machine's certificates and package index, so that the build finds what this machine finds.
It must never be pushed; all our tags are removed at the end.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.container_test.engine import install
from deploy.container_test.shell import ROOT, run, succeeds

PREFIX = "amostra-container-test"
SERVICE, BASE, PROMETHEUS = f"{PREFIX}/service", f"{PREFIX}/base", f"{PREFIX}/prometheus"

_DOCKERFILE = """FROM {base}
COPY usr/bin/prometheus usr/bin/promtool /bin/
RUN mkdir /prometheus && chown nobody /prometheus
USER nobody
ENTRYPOINT ["/bin/prometheus"]
"""


def base() -> tuple[str, bool]:
    """The base image, and whether it is a stand-in for the one that the Dockerfile names."""
    found = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found, "the Dockerfile names no PYTHON_IMAGE"
    if had(found[1]):
        return found[1], False
    with tempfile.TemporaryDirectory() as name:
        _debian(Path(name) / "root")
    return BASE, True


def service(base_image: str) -> str:
    """The service's image, built as `make image` builds it."""
    run("docker", "build", "--build-arg", f"PYTHON_IMAGE={base_image}", "-t", SERVICE, ".", seconds=600)
    return SERVICE


def prometheus(base_image: str) -> tuple[str, bool]:
    """Prometheus, and whether it is a stand-in for the image that docker-compose.yml names."""
    found = re.search(r"image: (prom/prometheus:\S+)", (ROOT / "docker-compose.yml").read_text())
    assert found, "docker-compose.yml has no Prometheus"
    if had(found[1]):
        return found[1], False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)  # apt downloads as another user
        download = subprocess.run(["apt-get", "download", "prometheus"], cwd=folder, capture_output=True, check=False)
        if download.returncode:
            run("apt-get", "update")
            subprocess.run(["apt-get", "download", "prometheus"], cwd=folder, capture_output=True, check=True)
        run("dpkg-deb", "-x", next(folder.glob("prometheus*.deb")), folder / "tree")
        (folder / "tree/Dockerfile").write_text(_DOCKERFILE.format(base=base_image))
        run("docker", "build", "-t", PROMETHEUS, folder / "tree")
    return PROMETHEUS, True


def grafana() -> str | None:
    """Grafana's image, where it can be had."""
    found = re.search(r"image: (grafana/grafana:\S+)", (ROOT / "docker-compose.yml").read_text())
    assert found, "docker-compose.yml has no Grafana"
    return found[1] if had(found[1]) else None


def remove() -> None:
    """Remove every image that was made here."""
    for tag in (SERVICE, PROMETHEUS, BASE):
        succeeds("docker", "image", "rm", "--force", tag)


def had(image: str) -> bool:
    """Whether the engine has an image, or can pull it."""
    return succeeds("docker", "image", "inspect", image) or succeeds("docker", "pull", "--quiet", image)


def _debian(root: Path) -> None:
    """Import a small Debian with Python as BASE."""
    if shutil.which("debootstrap") is None:
        install("debootstrap")
    release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().replace('"', "").splitlines() if "=" in line
    )
    sites = run("apt-get", "indextargets", "--format", "$(SITE)").split()
    mirror = next(site for site in sites if "security" not in site)
    packages = "--include=python3,python3-venv,python3-pip,ca-certificates"
    run("debootstrap", "--variant=minbase", packages, release["VERSION_CODENAME"], root, mirror, seconds=400)
    for left in (*root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"), *root.glob("var/cache/apt/archives/*.deb")):
        left.unlink()
    for lists in root.glob("var/lib/apt/lists/*"):
        shutil.rmtree(lists) if lists.is_dir() else lists.unlink()
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    shutil.copy(certificates, root / certificates.lstrip("/"))
    settings = ["[global]", f"cert = {certificates}"]
    for name in ("index-url", "trusted-host"):
        value = run("python3", "-m", "pip", "config", "get", f"global.{name}", check=False).strip()
        settings += [f"{name} = {value}"] if value else []
    (root / "etc/pip.conf").write_text("\n".join(settings) + "\n")
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as archive:
        paths = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        subprocess.run(
            [
                *("docker", "import", "--change", f"ENV PATH={paths}", "--change", f"ENV SSL_CERT_FILE={certificates}"),
                *("-", BASE),
            ],
            stdin=archive.stdout,
            stdout=subprocess.DEVNULL,
            check=True,
        )
