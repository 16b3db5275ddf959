"""Check the examples of batch jobs: against Kubernetes' own schemas, and against the command line that they call.

    python -m deploy.jobs.check          # make helm-lint

There is no schema of KubeRay's here: of a RayJob the pods are checked, as Pods.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

FOLDER = Path(__file__).parent
KUBERNETES = "1.32"


def examples() -> dict[str, dict[str, Any]]:
    """Every example by the name of its file."""
    return {file.name: yaml.safe_load(file.read_text("utf-8")) for file in sorted(FOLDER.glob("*.yaml"))}


def pods(example: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The specifications of all pods that an example asks for."""
    spec = example["spec"]
    if example["kind"] == "Job":
        yield spec["template"]["spec"]
    else:
        cluster = spec["rayClusterSpec"]
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        yield from (group["template"]["spec"] for group in groups)


def problems() -> Iterator[str]:
    """What is wrong with the examples."""
    for name, example in examples().items():
        objects = [example] if example["kind"] == "Job" else [_pod(spec) for spec in pods(example)]
        for found in objects:
            try:
                kubernetes_validate.validate(found, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{name}: {error}"
        print(f"{name}: {example['kind']}, {len(objects)} checked")


def _pod(spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "checked"}, "spec": spec}


def main() -> int:
    """Print what is wrong; 0 where nothing is."""
    found = list(problems())
    print("\n".join(found) or "the examples are sound")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
