# Everything a person or a machine does with a checkout. `make demo` and `make test` do all the set-up themselves.

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
# The first Python that is new enough; `make PYTHON=/path/to/python` decides otherwise.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	if command -v $$p >/dev/null && $$p -c '$(NEW_ENOUGH)' 2>/dev/null; then echo $$p; break; fi; done)
# Another package index to take torch from, where the usual one has only GPU builds.
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
JOBS ?= 2

.PHONY: help venv demo test check bench format tree reference clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

venv: $(RUNTIME) ## make .venv and install Kincast into it

demo: $(RUNTIME) ## the main job on real retail data, from init to one HTTP prediction and a report
	$(BIN)/kincast demo --force

test: $(DEV) check ## install, check style, types, layers and sizes, and run every test
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: $(DEV) ## style, types, layers, sizes, import times and the tree in the README; no tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_budgets.py
	$(BIN)/python tools/make_tree.py --check README.md
	$(BIN)/python tools/make_settings.py --check

bench: $(RUNTIME) ## every benchmark, on an idle machine; needs shared/data/f1 beside the checkout for the last
	$(BIN)/python benchmarks/run.py

format: $(DEV) ## put the code into the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

tree: $(DEV) ## write the tree of the package into the README
	$(BIN)/python tools/make_tree.py --write README.md

reference: $(DEV) ## write docs/reference/settings.md from the code
	$(BIN)/python tools/make_settings.py --write

clean: ## remove what the tools left, but not .venv
	rm -rf build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis shop-demo

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Kincast needs Python 3.11 or newer, and none was found." \
		"Install one, or say where it is: make PYTHON=/path/to/python"; exit 3; }
	@echo "making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { echo "The virtual environment could not be made." \
		"On Debian and Ubuntu: apt-get install python3-venv"; rm -rf $(VENV); exit 3; }

# torch first and alone: where its pinned build is installed, nothing else can pull another one in.
$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Kincast and what it needs (a minute or two the first time)"
	$(PIP) install --upgrade "pip>=25.1"
	$(PIP) install -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(PIP) install -c constraints.txt -e ".[postgres]"
	@touch $@

$(DEV): $(RUNTIME)
	@echo "installing what the tests need"
	$(PIP) install -c constraints.txt --group dev
	@touch $@
