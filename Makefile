# make demo: set up and run the main job.  make test: set up and run every check.  make docs: build the site.  make bench: measure.  README.md tells the rest.
PYTHON ?= python3
# Where to get torch from, e.g. https://download.pytorch.org/whl/cpu; empty: from where pip gets everything else.
TORCH_INDEX ?=
# Virtual environment with nnU-Net for make bench, made where it is absent; empty: without nnU-Net
NNUNET ?= .venv-nnunet
# Options for pytest, e.g. make test PYTEST_ARGS="-k phantom"
PYTEST_ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
STAMP := .venv/.installed
SOURCES := src tests pipelines $(wildcard .ci benchmarks docs)

# Waiting threads sleep: where the cores are shared, a training step is otherwise several times slower.
export OMP_WAIT_POLICY ?= PASSIVE
export PYTHONUTF8 = 1

.PHONY: help setup demo test lint docs bench

help:
	@sed -n '1p' Makefile

setup: $(STAMP)

# torch comes first and alone, so that the other index need not carry anything else.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(if $(TORCH_INDEX),PIP_INDEX_URL=$(TORCH_INDEX)) $(PIP) --no-deps torch
	$(PIP) hatchling
	$(PIP) --no-build-isolation --editable '.[dev]'
	$(BIN)/python -m pip check
	touch $(STAMP)

demo: setup
	$(BIN)/python pipelines/demo.py

lint: setup
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

# Hundreds of processes are begun: where no bytecode is to be written, each compiles medseg anew.
test: export OMP_NUM_THREADS = 1
test: export PYTHONDONTWRITEBYTECODE =
test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

# Into site/. mkdocs-material tells of its successor (Zensical) at each build unless the variable is set.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "the site: site/index.html"

# Hours on two cores; each script also runs alone, see its first lines. Results: benchmarks/results, docs/concepts/growth.svg
bench: setup
	$(PIP) --no-build-isolation --editable '.[dev,bench]'
	$(BIN)/python benchmarks/inference_ct.py $(if $(NNUNET),$(if $(wildcard $(NNUNET)/bin/python),--nnunet,--make-nnunet) $(NNUNET))
	$(BIN)/python benchmarks/inference_ct.py --device cuda
	$(BIN)/python benchmarks/training_speed.py --profile $(if $(NNUNET),--nnunet $(NNUNET)/bin/python)
	$(BIN)/python benchmarks/training_speed.py --profile --device cuda $(if $(NNUNET),--nnunet $(NNUNET)/bin/python)
	$(BIN)/python benchmarks/backends.py
	$(BIN)/python benchmarks/network_roof.py
	$(BIN)/python benchmarks/many_classes.py
	$(BIN)/python benchmarks/pictures.py
	$(BIN)/python benchmarks/surface_distances.py
	$(BIN)/python benchmarks/folder.py
	$(BIN)/python benchmarks/viewer.py
	$(BIN)/python benchmarks/growth.py
