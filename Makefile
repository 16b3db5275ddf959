# Two environments: .venv serves and has no torch, .venv-dev trains and tests.
PYTHON ?= python3
PORT ?= 3000
HOST ?= 127.0.0.1
PIP := -m pip install --quiet --disable-pip-version-check
export BENTOML_HOME ?= $(CURDIR)/.bentoml
export BENTOML_DO_NOT_TRACK ?= True

.PHONY: help serve test lint train report bench lock clean image image-gpu container-test helm-lint fuzz

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
	.venv-dev/bin/python -m pytest

lint: .venv-dev/ready  ## Check style and types
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/mypy

train: .venv-dev/ready  ## Train, export and evaluate a recipe: make train RECIPE=mnist-flow ARGS="--data-root data"
	.venv-dev/bin/python -m training run $(RECIPE) $(ARGS)

report: .venv-dev/ready  ## Write report/index.html: figures and pictures of all models in exported/
	.venv-dev/bin/python -m training report

BENCHMARKS := mixed_clients http_overhead one_client one_shot_limit one_shot_peers text_one_stream text_http \
	diffusion_mixed diffusion_one density fairness memory device table_rows adbench one_class_mnist

bench: .venv-dev/ready .venv/ready  ## Measure the service beside its peers (hours; BENCHMARKS=http_overhead for one of them)
	set -e; for name in $(BENCHMARKS); do .venv-dev/bin/python -m benchmarks.$$name; done

SECONDS ?= 600

fuzz: .venv-dev/ready  ## Random requests against the API, and random bytes against everything that reads bytes
	.venv-dev/bin/python -m fuzz.api
	.venv-dev/bin/python -m fuzz.readers --seconds $(SECONDS)

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

image:  ## Build the container image for CPUs
	docker build -t amostra:$(VERSION) .

image-gpu:  ## Build the container image for NVIDIA GPUs
	docker build --build-arg RUNTIME=gpu -t amostra:$(VERSION)-gpu .

container-test:  ## Build the image, run docker-compose.yml and check it (up to 10 minutes; starts an engine where there is none)
	$(PYTHON) -m deploy.container_test

.venv-helm/ready: requirements/helm.txt
	$(PYTHON) -m venv .venv-helm
	.venv-helm/bin/python $(PIP) -r requirements/helm.txt
	touch $@

helm-lint: .venv-helm/ready  ## Lint the Helm chart, render it and check what comes out against Kubernetes' schemas
	.venv-helm/bin/python -m deploy.helm.check

lock: ## Write requirements/*.txt anew from pyproject.toml
	sh requirements/lock.sh $(PYTHON)

clean:  ## Remove the environments
	rm -rf .venv .venv-dev .venv-helm .bentoml
