# make demo: the main job.  make test: the tests.  Both set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=
# What fixes the versions: pinned, oldest (the least that pyproject.toml allows) or newest.
DEPENDENCIES ?= pinned
CONSTRAINTS := $(if $(filter newest,$(DEPENDENCIES)),,-c deploy/constraints$(if $(filter oldest,$(DEPENDENCIES)),-oldest).txt)
EXTRAS := $(if $(filter oldest,$(DEPENDENCIES)),dev,dev,dev-hats)

.PHONY: coverage demo test check real surveys install clean

demo: install
	$(BIN)/distcnn demo runs/demo

# Two processes with one thread each; four threads on two cores are several times slower.
test: install
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

# As test, with the floor of coverage; some minutes longer.
coverage: PYTEST_ARGS += --cov=distcnn --cov-report=
coverage: test
	$(BIN)/coverage report --skip-covered | tail -n 40

check: install
	$(BIN)/ruff check distcnn tests benchmarks
	$(BIN)/ruff format --check distcnn tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/python benchmarks/render.py --check
	PYTHON=$(BIN)/python sh tests/conformance/wheel.sh

real: install
	$(BIN)/python benchmarks/real.py

surveys: install
	$(BIN)/python benchmarks/surveys.py --readme conf/surveys/README.md

install: $(STAMP)

# The constraints file pins the whole development set; torch comes first so that no other
# package can ask for a larger build of it.
$(STAMP): pyproject.toml deploy/constraints.txt deploy/constraints-oldest.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q $(CONSTRAINTS) torch -e '.[$(EXTRAS)]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) runs dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
