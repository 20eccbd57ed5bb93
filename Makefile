# Every target is a thin wrapper of the real tool: you can run its command line directly.
# Requires Linux, Python 3.10 or newer with venv, and a package index; writes only to .venv and build folders.

PYTHON ?= python3
VENV ?= .venv
# workers of the test run: one per core, at most eight (each imports torch)
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$(( n < 8 ? n : 8 )))

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PLUGINS := $(wildcard adapters/*/pyproject.toml extensions/*/pyproject.toml)
PROJECTS := pyproject.toml $(PLUGINS)
EDITABLE := -e '.[export]' $(patsubst %/pyproject.toml,-e %,$(PLUGINS))
GROUPS := --group dev --group benchmarks

# Ultralytics: no settings in the user's home, no downloads, no pip at run time
export YOLO_CONFIG_DIR ?= $(CURDIR)/$(VENV)/ultralytics
export YOLO_AUTOINSTALL := False
export YOLO_OFFLINE := True
# where it is set, every process compiles torch and all other modules again: half the time of a small conversion
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full test-oldest test-newest test-ray check style types layers pages format docs site dist test-wheels licenses gpu constraints clean

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## create a virtual environment with everything, at the tested versions

demo: $(READY)  ## convert a trained YOLOv5 and detect on images
	tools/demo $(BIN)

# --budget: seconds on two quiet cores, printed and checked at the end (tests/support/budget.py);
# the everyday suite is meant to take 600 and fails beyond 700, the full one 1700 and 2000, since cores differ
PYTEST = OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile --durations 20

test: $(READY)  ## run the everyday tests, one of each kind: under 10 minutes on 2 cores
	$(PYTEST) -m 'not full' --budget 700 $(ARGS)

test-full: $(READY)  ## run all other tests, then test-oldest, test-newest and test-ray: under 50 minutes
	$(PYTEST) -m full --budget 2000 $(ARGS)
	$(MAKE) test-oldest test-newest test-ray

test-oldest: $(READY)  ## test the adapters' patches with the oldest supported frameworks, in a separate environment
	tools/test-versions oldest $(BIN) $(VENV)-oldest

test-newest: $(READY)  ## the same with the newest supported frameworks
	tools/test-versions newest $(BIN) $(VENV)-newest

test-ray: $(READY)  ## test adaptrt-ray with Ray, in a separate environment
	tools/test-ray $(BIN) $(VENV)-ray

check: style types layers pages  ## check style, types, layers, generated pages (make -k check continues after a failure)

style: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

pages: $(READY)
	$(BIN)/python docs/generators/generate.py --check

format: $(READY)  ## fix and format the code with ruff
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(READY)  ## regenerate docs/reference and the generated tables
	$(BIN)/python docs/generators/generate.py

site: $(READY)  ## build the documentation site in build/site; broken links are errors
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt --group site
	$(BIN)/python docs/generators/site_pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file build/mkdocs.yml

dist: $(READY)  ## build the wheels and sources of every distribution, in dist/
	tools/build-distributions $(BIN) dist

test-wheels: dist  ## install those wheels in a bare environment, .venv-wheels, and run the demo with them
	rm -rf .venv-wheels
	tools/test-wheels $(BIN)/uv dist .venv-wheels

licenses: $(READY)  ## write an SBOM and a table of licenses of the environment of make setup, in build/licenses/
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt --group release
	tools/bill-of-materials $(BIN) $(BIN)/python build/licenses

gpu: $(READY)  ## run the tests that need an NVIDIA GPU
	$(BIN)/pytest -m gpu tests/gpu $(ARGS)

constraints: $(READY)  ## update constraints.txt; keeps the pins that still fit (UPGRADE=--upgrade renews all)
	tools/constraints $(BIN)/uv $(UPGRADE)

clean:  ## remove build outputs and caches, except the virtual environment
	rm -rf demo dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(READY): $(PROJECTS) constraints.txt tools/system-libraries
	@$(PYTHON) -c 'import sys, venv, ensurepip; sys.version_info >= (3, 10) or sys.exit("too old: " + sys.version)' \
	  || { echo 'adaptrt needs Python 3.10 or newer with venv: apt-get install python3-venv, or make PYTHON=python3.12'; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt $(EDITABLE) $(GROUPS)
	tools/system-libraries $(BIN)/python
	@touch $(READY)
