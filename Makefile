# make demo | make test | make lint | make bench | make clean
# On a bare machine with Python 3.11 or newer and make: the first call makes .venv and installs the pinned versions.

PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11 python,$(shell $(name) -c 'import sys; print("$(name)" if sys.version_info >= (3, 11) else "")' 2>/dev/null)))
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test pytest lint format bench clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    install, then run the whole path on the shipped sample"
	@echo "make test    install the developers' tools, then lint and test"
	@echo "make lint    ruff, mypy, import layers, docstrings"
	@echo "make format  let ruff fix and format"
	@echo "make bench   run everything in benchmarks/"
	@echo "make clean   remove .venv and caches"

demo: $(VENV)/.installed
	$(BIN)/sciddiff demo --overwrite

test: lint pytest

pytest: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses logical --dist worksteal

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m numpydoc lint $$(find sciddiff -name '*.py')

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "sciddiff needs Python 3.11 or newer; none was found. Set it: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "no virtual environment could be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.installed
