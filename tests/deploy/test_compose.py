"""docker-compose.yml: pinned, confined, and asking for its secret. `make container-test` runs it."""

import re
import tomllib
from typing import Any

import pytest
import yaml

from deploy.container_test.shell import ROOT
from service.settings import Settings

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GPU = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_and_confined(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", service["image"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert not service.get("privileged")


def test_the_images_are_of_this_version() -> None:
    assert SERVICES["amostra"]["image"] == f"amostra:{VERSION}"
    assert GPU["services"]["amostra"]["image"] == f"amostra:{VERSION}-gpu"
    chart = yaml.safe_load((ROOT / "deploy/helm/amostra/Chart.yaml").read_text())
    assert chart["appVersion"] == VERSION


def test_the_service_can_write_to_a_bounded_tmp_and_its_batches_only() -> None:
    service = SERVICES["amostra"]
    assert service["read_only"] is True
    (tmp,) = service["tmpfs"]
    assert re.match(r"/tmp:size=\d+m", tmp)
    written = [volume for volume in service["volumes"] if not volume.endswith(":ro")]
    assert written == [f"batches:{service['environment']['AMOSTRA_BATCH_DIR']}"]


def test_there_is_time_to_drain() -> None:
    grace = int(SERVICES["amostra"]["stop_grace_period"].removesuffix("s"))
    assert grace >= Settings.model_fields["drain_seconds"].default + 10


def test_secrets_are_asked_for_and_never_written_down() -> None:
    password = SERVICES["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"]
    assert re.match(r"\$\{GRAFANA_ADMIN_PASSWORD:\?.+\}", password)
    assert re.search(r"^GRAFANA_ADMIN_PASSWORD=$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_every_variable_of_the_file_is_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    named = set(re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert used == named


def test_what_is_mounted_exists() -> None:
    for service in SERVICES.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (
                (ROOT / source).exists()
                if source.startswith("./")
                else source.startswith("${") or source in COMPOSE["volumes"]
            )


def test_the_gpu_s_file_reserves_one_and_insists_on_it() -> None:
    service = GPU["services"]["amostra"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert service["environment"]["AMOSTRA_PROVIDER"] == "cuda"
