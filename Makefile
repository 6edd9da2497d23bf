# `make demo` and `make test` do all the set-up by themselves; `make help` lists the targets.
#
# Variables: PYTHON      the interpreter the environment is made with (3.11 or newer)
#            VENV        where the environment lies
#            CONSTRAINTS the versions to install; `CONSTRAINTS=` takes the newest that setup.cfg allows
#            JOBS        test processes; 0 runs the tests in one process
#            PYTEST_ARGS further arguments to pytest, for example `PYTEST_ARGS="-k cameras -x"`
#            DEMO_OUTPUT where the demo writes

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints-dev.txt
JOBS ?= 2
PYTEST_ARGS ?=
DEMO_IMAGES ?= $(sort $(wildcard examples/*.png))
DEMO_OUTPUT ?= demo_output

BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install $(if $(strip $(CONSTRAINTS)),-c $(CONSTRAINTS))
REQUIREMENTS := setup.cfg pyproject.toml $(CONSTRAINTS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.installed ## install, then turn the pictures of examples/ into meshes, videos and sheets of views
	$(BIN)/lrm-hf generate $(DEMO_IMAGES) -o $(DEMO_OUTPUT) --video
	@echo
	@echo "Meshes (any glTF viewer), turntable videos and sheets of views:"
	@find "$(DEMO_OUTPUT)" -type f \( -name '*.glb' -o -name '*.mp4' -o -name '*_views.png' \) | sort | sed 's/^/  /'

test: $(VENV)/.installed-dev ## install with the test extras, then run the whole suite
	$(BIN)/python -m pytest $(if $(filter-out 0,$(JOBS)),-n $(JOBS) --dist loadfile) $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

build: $(VENV)/.installed-dev ## wheel and sdist in dist/, and a look at what is in them
	rm -rf build dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python .ci/check_dist.py dist

clean: ## remove the environment, builds, caches and the demo's output
	rm -rf "$(VENV)" build dist "$(DEMO_OUTPUT)" src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
	find src tests examples benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"lrm_hf needs Python 3.11 or newer, $(PYTHON) is {sys.version.split()[0]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv "$(VENV)"

# The stamps are written last: an interrupted install is run again.
$(VENV)/.installed: $(REQUIREMENTS) | $(BIN)/python
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: $(REQUIREMENTS) | $(BIN)/python
	$(PIP_INSTALL) -e ".[dev]"
	@touch $@ $(VENV)/.installed
