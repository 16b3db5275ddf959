"""The chart agrees with the service. `make helm-lint` lints, renders and validates it."""

import json

import yaml

from deploy.container_test.shell import ROOT
from service.settings import Settings

CHART = ROOT / "deploy/helm/amostra"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def test_every_value_has_a_schema_and_the_other_way_round() -> None:
    assert set(VALUES) == set(SCHEMA["properties"]) - {"global"}
    for name, value in VALUES.items():
        if SCHEMA["properties"][name].get("additionalProperties") is False:
            assert set(value) == set(SCHEMA["properties"][name]["properties"]), name


def test_the_settings_that_the_chart_keeps_for_itself_are_settings() -> None:
    kept = SCHEMA["properties"]["settings"]["propertyNames"]["not"]["enum"]
    assert set(kept) <= set(Settings.model_fields)


def test_it_drains_as_the_service_does_by_default() -> None:
    assert VALUES["drain"]["seconds"] == Settings.model_fields["drain_seconds"].default


def test_kserve_s_example_runs_confined_from_the_copied_store() -> None:
    service = yaml.safe_load((ROOT / "deploy/kserve/inferenceservice.yaml").read_text())
    (container,) = service["spec"]["predictor"]["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert environment["AMOSTRA_MODELS"] == "/mnt/models"
    assert environment["STORAGE_URI"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    ours = {name.removeprefix("AMOSTRA_").lower() for name in environment if name.startswith("AMOSTRA_")}
    assert ours <= set(Settings.model_fields)
