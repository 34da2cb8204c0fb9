# make demo   creates a virtual environment and runs the whole pipeline on rendered cells of two laboratories
# make test   creates a virtual environment and runs all tests
# make test-oldest   runs the main journeys with the oldest versions that pyproject.toml allows, in an environment of its
#             own; PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" spares the CUDA libraries
# make test-ray   runs the tests of batch jobs on Ray, Accelerate, Dask and Spark (if there is a Java), which start processes
#             for minutes, in an environment of its own with the extra ray; PIP_ARGS as above
# make test-slim   runs tests/journeys/test_slim.py in an environment with the package and no extra, and checks its size
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

OLDEST := .venv-oldest
RAY := .venv-ray
SLIM := .venv-slim

# By its path: setuptools' own finder is asked last, so that in the folder that holds a clone named bc_sam, `import bc_sam`
# would find that folder instead of the package.
EDITABLE := --config-settings editable_mode=compat -e

.PHONY: demo test test-oldest test-ray test-slim clean

demo: $(VENV)/.ready
	$(BIN)/bc-sam demo --out demo

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n auto --dist worksteal --durations 10

test-oldest: $(OLDEST)/.ready
	$(OLDEST)/bin/python -m pytest tests/journeys/test_predict.py tests/journeys/test_train.py \
		tests/journeys/test_adapt.py tests/journeys/test_compare.py tests/models/test_embedded_model.py

test-ray: $(RAY)/.ready
	BC_SAM_SLOW_TESTS=1 $(RAY)/bin/python -m pytest tests/models/batch --durations 10

test-slim: $(VENV)/.ready-dev
	rm -rf $(SLIM)
	$(PYTHON) -m venv $(SLIM)
	$(SLIM)/bin/python -m pip install --quiet -c constraints.txt .
	BC_SAM_SLIM=$(SLIM) $(BIN)/python -m pytest tests/journeys/test_slim.py

$(OLDEST)/.ready: pyproject.toml tests/oldest.py
	$(PYTHON) -m venv $(OLDEST)
	$(PYTHON) tests/oldest.py > $(OLDEST)/oldest.txt
	$(OLDEST)/bin/python -m pip install --quiet $(PIP_ARGS) -c $(OLDEST)/oldest.txt -e ".[all]" "pytest>=9.0" \
		"pytest-xdist>=3.6" "hypothesis>=6.150" "fastapi>=0.160" "uvicorn>=0.50"
	touch $@

$(RAY)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt $(EDITABLE) ".[train,ray]" "pytest>=9.0" \
		"hypothesis>=6.150" "fastapi>=0.160" "uvicorn>=0.50" psutil "dask>=2026.8" "pyspark>=4.3"
	touch $@

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt $(EDITABLE) ".[all]"
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet -c constraints.txt $(EDITABLE) ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) $(RAY) $(SLIM) demo
