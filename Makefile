# make demo   creates a virtual environment and runs the whole pipeline on rendered cells of two laboratories
# make test   creates a virtual environment and runs all tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test clean

demo: $(VENV)/.ready
	$(BIN)/bc-sam demo --out demo

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n auto --dist worksteal --durations 10

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all]"
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo
