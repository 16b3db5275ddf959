"""The examples of deploy/jobs call the command line as it is, with the image and the Ray that there are."""

import re
import shlex
import tomllib
from typing import Any

import pytest
import yaml

from deploy.container_test.shell import ROOT
from jobs.cli import parsed
from jobs.errors import BadUsage, Interrupted, TooManyBadRows

EXAMPLES = {file.name: yaml.safe_load(file.read_text("utf-8")) for file in (ROOT / "deploy/jobs").glob("*.yaml")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def commands(example: dict[str, Any]) -> list[str]:
    if example["kind"] == "RayJob":
        return shlex.split(example["spec"]["entrypoint"])
    (container,) = example["spec"]["template"]["spec"]["containers"]
    return [*container["command"], *container["args"]]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_calls_the_command_line(name: str) -> None:
    python, flag, module, *arguments = commands(EXAMPLES[name])
    assert (python, flag, module) == ("python", "-m", "jobs")
    options = parsed(arguments)
    assert (ROOT / "exported" / options.model).is_dir()


def test_the_exit_codes_that_a_scheduler_is_told_are_the_command_s() -> None:
    rules = EXAMPLES["job.yaml"]["spec"]["podFailurePolicy"]["rules"]
    told = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule}
    assert told == {"FailJob": [BadUsage.exit_code, TooManyBadRows.exit_code], "Ignore": [Interrupted.exit_code]}


def test_a_cluster_runs_the_ray_that_is_installed() -> None:
    (ray,) = (line for line in PROJECT["optional-dependencies"]["jobs"] if line.startswith("ray["))
    spec = EXAMPLES["rayjob.yaml"]["spec"]["rayClusterSpec"]
    assert ray.endswith(f"=={spec['rayVersion']}")


def test_the_images_are_of_this_version() -> None:
    for example in EXAMPLES.values():
        images = re.findall(r"amostra:\S+", yaml.safe_dump(example))
        assert set(images) == {f"amostra:{PROJECT['version']}-jobs"}
