# make app    installs what is needed and serves the dashboard on http://127.0.0.1:8501, with a
#             worker for background jobs; both stop together
# make test   installs what is needed and runs the tests with their coverage gate
# make lint   ruff, mypy and the import contract
# make clean  removes the environment and everything the tools wrote
#
# make app PORT=9000            another port
# make app PYTHON=python3.12    another Python (3.11 or newer)
# make app TORCH_ARGS="..."     pip options for PyTorch alone, for instance the index of its CPU builds

PYTHON ?= python3
VENV ?= .venv
HOST ?= 127.0.0.1
PORT ?= 8501
TORCH_ARGS ?=
WORKERS ?= 2
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
APP_READY := $(VENV)/.ready-app
TEST_READY := $(VENV)/.ready-test
TORCH := $(shell sed -n '/^torch==/p' constraints.txt)

.PHONY: app test lint clean
.DELETE_ON_ERROR:

app: $(APP_READY)
	$(BIN)/xpert doctor
	@exec $(BIN)/xpert app --host $(HOST) --port $(PORT)

test: $(TEST_READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --cov --cov-report=term:skip-covered $(PYTEST_ARGS)

lint: $(TEST_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# PyTorch goes first and alone, so that no other package chooses its build. A stamp is touched
# last: an interrupted installation is taken up again, a finished one is not repeated.
$(APP_READY): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "XPert needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH_ARGS) "$(TORCH)"
	$(PIP) -c constraints.txt -e ".[app,train,search,maps]"
	@touch $@

$(TEST_READY): $(APP_READY)
	$(PIP) -c constraints.txt -e ".[app,train,search,maps,unimol,test,lint]"
	@touch $@

clean:
	rm -rf $(VENV) dist htmlcov .coverage .coverage.* coverage.xml
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find xpert_core app tests training -name __pycache__ -type d -prune -exec rm -rf {} +
