# Two commands: `make run` starts the dashboard, `make test` checks everything. `make help` lists the rest.
PORT ?= 8501
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for one in $(CANDIDATES); do $$one $(NEW_ENOUGH) 2>/dev/null && echo $$one && break; done)
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
TYPED := $(wildcard app.py pages reparam_core benchmarks assets/training scripts)

# A finished installation leaves a stamp keyed on what it installed, so that a second run has nothing to do
# and a broken one goes on where it stopped.
SET_UP = @$(if $(PYTHON),$(PYTHON),false) $(NEW_ENOUGH) 2>/dev/null || \
	{ echo 'Python 3.11 or newer is needed; if it has another name: make $@ PYTHON=/path/to/python' >&2; exit 1; }; \
	$(PYTHON) scripts/setup_environment.py

.PHONY: help run test lint unit browser bench assets screenshots clean distclean
help:
	@echo 'make run        set up and start the dashboard on localhost:8501 (another port: make run PORT=8502)'
	@echo 'make test       set up, then lint, types, import rules and every test'
	@echo 'make lint       ruff, mypy and the import rules'
	@echo 'make bench      measure the speeds that benchmarks/README.md reports'
	@echo 'make assets     train the embedded checkpoints again'
	@echo 'make screenshots take the pictures of the README again'
	@echo 'make clean      remove what tests and checks left; make distclean removes .venv too'

run:
	$(SET_UP)
	@exec $(BIN)/python scripts/serve.py --port '$(PORT)'

# What fails fastest comes first.
test: lint unit browser

lint:
	$(SET_UP) --dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy $(TYPED)

unit:
	$(SET_UP) --dev
	$(BIN)/python -m pytest -n 2 -m 'not browser and not alone'

browser:
	$(SET_UP) --dev
	@$(BIN)/python -m scripts.browser
	$(BIN)/python -m pytest -m 'browser or alone'

bench:
	$(SET_UP) --dev
	$(BIN)/python -m benchmarks

assets:
	$(SET_UP) --dev
	$(BIN)/python -m assets.training

screenshots:
	$(SET_UP) --dev
	@$(BIN)/python -m scripts.browser
	$(BIN)/python -m scripts.screenshots

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis test-results
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv
