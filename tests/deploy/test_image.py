"""What the Dockerfile takes for granted about the files around it."""

import re
from pathlib import Path

from deploy.container_test.shell import ROOT

REQUIREMENTS = ROOT / "requirements"


def lines(name: str) -> list[str]:
    return (REQUIREMENTS / name).read_text().splitlines()


def test_a_cpu_s_image_can_take_the_plain_runtime() -> None:
    """The Dockerfile drops one line of serve.txt and the marker of another."""
    runtimes = [line for line in lines("serve.txt") if line.startswith("onnxruntime")]
    gpu, cpu = sorted(runtimes)
    assert re.fullmatch(r"onnxruntime-gpu==[\d.]+; .+", gpu)
    assert re.fullmatch(r"onnxruntime==[\d.]+; .+", cpu)
    assert gpu.split(";")[0].replace("-gpu", "") == cpu.split(";")[0]


def test_what_is_installed_beside_serve_txt_is_pinned_and_not_in_it() -> None:
    names = {line.split("==")[0] for line in lines("serve.txt")}
    for file in ("serve-gpu.txt", "serve-options.txt", "jobs.txt"):
        assert lines(file)
        for line in lines(file):
            assert re.fullmatch(r"[\w.-]+==[\w.]+", line)
            assert line.split("==")[0] not in names


def test_an_image_for_jobs_has_what_the_others_have() -> None:
    """It is made from jobs.txt in place of serve-options.txt."""
    assert set(lines("serve-options.txt")) <= set(lines("jobs.txt"))


def test_everything_that_is_copied_reaches_the_builder() -> None:
    allowed = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    copied = re.findall(r"^COPY (?!--from)(\S+?)/? ", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert copied
    for source in copied:
        assert (ROOT / source).is_dir()
        assert any(Path(pattern).parts[0] == source for pattern in allowed), source


def test_the_image_is_confined_and_checks_its_health() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\\\n +CMD \[\"python\"", text, re.MULTILINE)
    assert re.search(r"^ARG PYTHON_IMAGE=python:\d+\.\d+\.\d+-slim", text, re.MULTILINE)
    assert not re.search(r"apt-get|gcc|build-essential|^# syntax", text, re.MULTILINE)
