"""Lint the chart strictly, render it in several ways, and check every object that comes out.

    python -m deploy.helm.check          # make helm-lint

No cluster is asked. Objects of Kubernetes itself are checked against its own schemas, strictly; for those of others
(Prometheus Operator, KEDA) there are none here, and the table says so.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import yaml

CHART = Path(__file__).parent / "amostra"
KUBERNETES = "1.32"
_UNKNOWN = {"ServiceMonitor", "ScaledObject"}

WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "everything": {
        "image": {"repository": "registry.example.com/amostra", "tag": "0.1.0"},
        "imagePullSecrets": [{"name": "pull"}],
        "settings": {
            "queue_seconds": 2.5,
            "max_body_bytes": 33554432,
            "per_model": '{"mnist-gan": {"weight": 2}}',
            "tracing": True,
        },
        "env": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.monitoring:4318"}],
        "keys": {"existingSecret": "amostra-keys"},
        "models": {"existingClaim": "models"},
        "autoscaling": {"kind": "hpa"},
        "networkPolicy": {
            "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "egress": [{"ports": [{"protocol": "TCP", "port": 4318}]}],
        },
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "podAnnotations": {"team": "models"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    },
    "gpu": {"gpu": {"enabled": True}, "autoscaling": {"kind": "keda"}},
    "batches": {"replicas": 1, "batches": {"existingClaim": "batches"}},
    "bare": {"podDisruptionBudget": {"enabled": False}, "networkPolicy": {"enabled": False}},
}
REFUSED: dict[str, dict[str, Any]] = {
    "a misspelt value": {"replica": 3},
    "no replica": {"replicas": 0},
    "a tag that moves": {"image": {"tag": "latest"}},
    "an unknown way to scale": {"autoscaling": {"kind": "magic"}},
    "a setting that the chart sets itself": {"settings": {"workers": 4}},
    "batches of several pods": {"replicas": 2, "batches": {"existingClaim": "batches"}},
    "batches of as many pods as it takes": {
        "replicas": 1,
        "batches": {"existingClaim": "batches"},
        "autoscaling": {"kind": "hpa"},
    },
    "no limits": {"resources": {"limits": None}},
}


def rendered(chart: helm.Chart, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The objects that a release would have."""
    manifests = chart.render(values, name="shop", namespace="models")
    for text in manifests.values():
        yield from (found for found in yaml.safe_load_all(text) if found)


def problems(chart: helm.Chart) -> Iterator[str]:
    """What is wrong with the chart."""
    linted = helm.lint(CHART, strict=True)
    yield from (f"lint: {said}" for said in (*linted["messages"], *linted["errors"]))
    for way, values in WAYS.items():
        chart.validate_schema(values)
        objects = list(rendered(chart, values))
        for found in objects:
            yield from (f"{way}: {found['kind']}: {problem}" for problem in _invalid(found))
        yield from (f"{way}: {problem}" for problem in _unselected(objects))
        yield from (f"{way}: {problem}" for problem in _unset(objects, values.get("settings", {})))
        kinds = ", ".join(sorted(o["kind"] + (" (no schema)" if o["kind"] in _UNKNOWN else "") for o in objects))
        print(f"{way}: {kinds}")
    for what, values in REFUSED.items():
        try:
            chart.validate_schema(values)
        except helm.HelmValuesError:
            continue
        yield f"values: {what} is accepted: {values}"


def _invalid(found: dict[str, Any]) -> Iterator[str]:
    try:
        kubernetes_validate.validate(found, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        if found["kind"] not in _UNKNOWN:
            yield "there is no schema for it"
    except kubernetes_validate.ValidationError as error:
        yield str(error)


def _unselected(objects: list[dict[str, Any]]) -> Iterator[str]:
    """Selectors that do not find the pods."""
    pods = next(o for o in objects if o["kind"] == "Deployment")["spec"]["template"]["metadata"]["labels"]
    for found in objects:
        spec = found["spec"]
        selector = spec.get("selector") or spec.get("podSelector") or {}
        wanted = selector.get("matchLabels", selector)
        if not wanted.items() <= pods.items():
            yield f"{found['kind']} selects {wanted}, the pods have {pods}"


def _unset(objects: list[dict[str, Any]], settings: dict[str, Any]) -> Iterator[str]:
    """Settings that the container is not given as they were written."""
    (container,) = next(o for o in objects if o["kind"] == "Deployment")["spec"]["template"]["spec"]["containers"]
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    for name, value in settings.items():
        wanted = str(value).lower() if isinstance(value, bool) else str(value)
        if given.get(f"AMOSTRA_{name.upper()}") != wanted:
            yield f"setting {name}: {given.get(f'AMOSTRA_{name.upper()}')!r}, not {wanted!r}"


def main() -> int:
    """Print what is wrong; 0 where nothing is."""
    with helm.Chart.load(CHART) as chart:
        found = list(problems(chart))
    print("\n".join(found) or "the chart is sound")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
