# Two environments: .venv serves and has no torch, .venv-dev trains and tests.
PYTHON ?= python3
PORT ?= 3000
HOST ?= 127.0.0.1
PIP := -m pip install --quiet --disable-pip-version-check
export BENTOML_HOME ?= $(CURDIR)/.bentoml
export BENTOML_DO_NOT_TRACK ?= True

.PHONY: help serve test tutorials lint train report bench lock clean image image-gpu image-jobs jobs-test container-test helm-lint fuzz kserve-test browser-test gpu-test chaos soak audit sbom

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

.venv/ready: requirements/serve.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) -r requirements/serve.txt
	touch $@

.venv-dev/ready: requirements/serve.txt requirements/dev.txt
	$(PYTHON) -m venv .venv-dev
	.venv-dev/bin/python $(PIP) -r requirements/dev.txt
	touch $@

# Connections are kept longer than clients keep them, so that none is closed under a request that is on its way.
serve: .venv/ready  ## Serve the models in exported/ (or $AMOSTRA_MODELS) on port 3000
	exec .venv/bin/bentoml serve service.app:Amostra --host $(HOST) --port $(PORT) \
		--timeout-keep-alive 75 --timeout-graceful-shutdown 30

test: .venv-dev/ready  ## Run all tests
	.venv-dev/bin/python -m tests

tutorials: .venv-dev/ready  ## Run every tutorial of docs/ in a fresh checkout, with few training steps
	.venv-dev/bin/python -m pytest -m tutorial tests/docs

lint: .venv-dev/ready  ## Check style and types
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/mypy

train: .venv-dev/ready  ## Train, export and evaluate a recipe: make train RECIPE=mnist-flow ARGS="--data-root data"
	.venv-dev/bin/python -m training run $(RECIPE) $(ARGS)

report: .venv-dev/ready  ## Write report/index.html: figures and pictures of all models in exported/
	.venv-dev/bin/python -m training report

BENCHMARKS := http_overhead one_client one_shot_limit one_shot_peers text_one_stream text_http \
	diffusion_mixed diffusion_one density fairness memory device table_rows jobs_rows jobs_workers jobs_kills batch_beside adbench one_class_mnist scores_over_http

bench: .venv-dev/ready .venv/ready  ## Measure the service beside its peers (hours; BENCHMARKS=http_overhead for one of them)
	set -e; for name in $(BENCHMARKS); do .venv-dev/bin/python -m benchmarks.$$name; done

browser-test: .venv-dev/ready  ## Use the playground in Chromium, as a person would (needs Debian's chromium, or another)
	.venv-dev/bin/python $(PIP) -r requirements/browser.txt
	.venv-dev/bin/python -m pytest -m browser tests/browser

kserve-test: .venv-dev/ready  ## KServe's client runs every graph of every model (an environment of its own is made once)
	.venv-dev/bin/python -m tests.e2e.kserve_check

gpu-test: .venv-dev/ready  ## On a machine with an NVIDIA GPU: every shipped model on CUDA, with CUDA graphs, and on TensorRT if it is there
	.venv-dev/bin/python $(PIP) -r requirements/serve-gpu.txt
	.venv-dev/bin/python -m pytest -m gpu -rs tests/gpu

jobs-test: .venv-dev/ready  ## Batch jobs on Ray: two workers, of which one is killed
	.venv-dev/bin/python -m pytest -m cluster tests/jobs

SECONDS ?= 600

fuzz: .venv-dev/ready  ## Random requests against the API, and random bytes against everything that reads bytes
	.venv-dev/bin/python -m fuzz.api
	.venv-dev/bin/python -m fuzz.readers --seconds $(SECONDS)

chaos: .venv-dev/ready  ## Faults under load: kills, a broken store, a clock that jumps, graphs that hang (some minutes)
	.venv-dev/bin/python -m pytest -m chaos tests/e2e/test_chaos.py

soak: .venv-dev/ready  ## Twenty minutes of more work than can be done, from clients good and bad
	.venv-dev/bin/python -m benchmarks.soak

.venv-audit/ready: requirements/audit.txt
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python $(PIP) -r requirements/audit.txt
	touch $@

# Strict: a package of which the service of vulnerabilities knows nothing, or a service that cannot be reached, is a failure.
audit: .venv-audit/ready  ## Look up the known vulnerabilities of everything that is served (needs the internet)
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --vulnerability-service osv \
		-r requirements/serve.txt -r requirements/serve-gpu.txt -r requirements/serve-options.txt

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

image:  ## Build the container image for CPUs
	docker build -t amostra:$(VERSION) .

image-gpu:  ## Build the container image for NVIDIA GPUs
	docker build --build-arg RUNTIME=gpu -t amostra:$(VERSION)-gpu .

sbom: .venv/ready .venv-audit/ready  ## List what is inside as CycloneDX: Python packages, and the image's Debian packages
	.venv-audit/bin/python -m deploy.sbom .venv amostra:$(VERSION)

image-jobs:  ## Build the container image for batch jobs, alone or on a Ray cluster
	docker build --build-arg JOBS=1 -t amostra:$(VERSION)-jobs .

container-test:  ## Build the image, run docker-compose.yml and check it (up to 10 minutes; starts an engine where there is none)
	$(PYTHON) -m deploy.container_test

.venv-helm/ready: requirements/helm.txt
	$(PYTHON) -m venv .venv-helm
	.venv-helm/bin/python $(PIP) -r requirements/helm.txt
	touch $@

helm-lint: .venv-helm/ready  ## Lint the Helm chart, render it and check what comes out, and the batch jobs, against Kubernetes' schemas
	.venv-helm/bin/python -m deploy.helm.check
	.venv-helm/bin/python -m deploy.jobs.check

lock: ## Write requirements/*.txt anew from pyproject.toml
	sh requirements/lock.sh $(PYTHON)

clean:  ## Remove the environments
	rm -rf .venv .venv-dev .venv-helm .venv-audit .bentoml
