# `make run` is all that a first visit needs: Python 3.11 or later and make. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 4891
NAME ?= primary
# make brings an AS of its own, the assembler; ?= would leave that one.
AS = 500
MODEL ?= chat
COUNT ?= 60
RATE ?= 5
SECONDS ?= 120

# A stamp carries the hash of the lock that it was made from: a new lock makes the environment anew, nothing else does.
lock_hash = $(firstword $(shell cat $(1) 2>/dev/null | cksum))
RUN_STAMP := $(VENV)/.run-$(call lock_hash,requirements/run.txt)
DEV_STAMP := $(VENV)/.dev-$(call lock_hash,requirements/run.txt requirements/dev.txt)

.DEFAULT_GOAL := help
.PHONY: help run ask break mend test coverage quick check generate fmt bench soak images lock clean

help: ## this list
	@sed -nE 's/^([a-z]+):[^#]*## /  make \1\t/p' Makefile

run: $(RUN_STAMP) ## answers on localhost: the quickstart, no key needed (PORT=4891)
	@MODELPOOL_STARTED_BY=make exec $(BIN)/modelpool run -f examples/quickstart --port $(PORT)

ask: $(RUN_STAMP) ## 60 requests at 5/s with a tally per target (MODEL COUNT RATE PORT)
	@exec $(BIN)/modelpool ask $(MODEL) --count $(COUNT) --rate $(RATE) --port $(PORT)

break: $(RUN_STAMP) ## let a Fake provider fail (NAME=primary AS=500|429|Refuse|Reset|Hang|Cut|Stall)
	@exec $(BIN)/modelpool break $(NAME) --as $(AS) --port $(PORT)

mend: $(RUN_STAMP) ## let it work again (NAME=primary)
	@exec $(BIN)/modelpool mend $(NAME) --port $(PORT)

test: $(DEV_STAMP) ## every test, with coverage
	@rm -f .coverage .coverage.*
	@$(BIN)/python tests/support/controlplane_build.py
	@$(BIN)/python tests/support/image_build.py
	$(BIN)/coverage run -m pytest -n 2 --dist loadgroup
	@$(BIN)/coverage combine -q && $(BIN)/coverage report

coverage: $(DEV_STAMP) ## whether the last `make test` reached what is promised: 100 % of what decides, 90 % of the rest
	@$(BIN)/coverage report --fail-under=100 --include='$(DECIDES)'
	@$(BIN)/coverage report --fail-under=90 --omit='$(DECIDES)'

DECIDES := sidecar/modelpool_config/*,sidecar/modelpool_sidecar/core/*,operator/modelpool_operator/checks/*,operator/modelpool_operator/inject*.py
DECIDES := $(DECIDES),operator/modelpool_operator/compiling.py,operator/modelpool_operator/conditions.py,operator/modelpool_operator/desired.py,operator/modelpool_operator/forms.py,operator/modelpool_operator/judged.py
DECIDES := $(DECIDES),operator/modelpool_operator/manifests.py,operator/modelpool_operator/namespaces.py,operator/modelpool_operator/sidecarcount.py,operator/modelpool_operator/store.py,operator/modelpool_operator/table.py

quick: $(DEV_STAMP) ## the tests that run while one types
	$(BIN)/pytest -n 2 -m "not slow"

check: $(DEV_STAMP) ## style, types, layers, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python deploy/generate.py --check

generate: $(DEV_STAMP) ## write deploy/crds/ anew from the API models
	$(BIN)/python deploy/generate.py

fmt: $(DEV_STAMP) ## put the code in shape
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: $(RUN_STAMP) ## CPU, latency and memory beside nginx (ARGS=... for benchmarks/run.py)
	$(BIN)/python benchmarks/run.py $(ARGS)

soak: $(DEV_STAMP) ## a sidecar under all faults at once, and its books at the end (SECONDS=120)
	@$(BIN)/python benchmarks/soak.py $(SECONDS)

images: ## the operator's and the sidecar's image, with docker or buildah (REGISTRY=ghcr.io/acme TAG=)
	@REGISTRY=$(REGISTRY) TAG=$(TAG) deploy/images.sh

lock: ## write requirements/ anew from pyproject.toml (needs uv; UPGRADE=--upgrade)
	@command -v uv >/dev/null || { echo "make lock needs uv: $(PYTHON) -m pip install uv"; exit 1; }
	uv pip compile $(LOCK) $(UPGRADE) --extra sidecar --extra cli --extra demo -o requirements/run.txt pyproject.toml
	uv pip compile $(LOCK) $(UPGRADE) --extra operator --extra sidecar --extra cli --extra demo --extra dev -c requirements/run.txt \
	  -o requirements/dev.txt pyproject.toml
	uv pip compile $(LOCK) --extra sidecar -c requirements/dev.txt -o requirements/sidecar.txt pyproject.toml
	uv pip compile $(LOCK) --extra operator -c requirements/dev.txt -o requirements/operator.txt pyproject.toml
	sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml | \
	  uv pip compile $(LOCK) -c requirements/dev.txt -o requirements/build.txt -

LOCK := --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --quiet

clean: ## remove the environment and what the tools left
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "modelpool needs Python 3.11 or later as $(PYTHON); name another one: make $(or $(MAKECMDGOALS),run) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  v=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  echo "This Python cannot make environments: install the package python$$v-venv (Debian, Ubuntu: sudo apt install python$$v-venv)."; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)

define install
	@echo "Installing what $(1) pins (once, some 20 seconds)"
	@$(BIN)/python requirements/install.py $(1)
endef

# The development environment holds everything of the other one, so it serves for both.
$(RUN_STAMP): | $(BIN)/python
	$(if $(wildcard $(DEV_STAMP)),,$(call install,requirements/run.txt))
	@rm -f $(VENV)/.run-* && touch $@

$(DEV_STAMP): | $(BIN)/python
	$(call install,requirements/dev.txt)
	@rm -f $(VENV)/.run-* $(VENV)/.dev-* && touch $@ $(RUN_STAMP)
