# Everything lives in .venv; `make demo` and `make test` need nothing installed but Python 3.11 or newer.
PYTHON ?= python3
BIN = .venv/bin

.PHONY: demo test lint bench measure clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@
	@echo "The command is $(BIN)/pofx; after 'source $(BIN)/activate' it is pofx."

demo: .venv/installed
	$(BIN)/python examples/demo.py

test: .venv/installed
	$(BIN)/python -m pytest -n 2

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[bench]"
	$(BIN)/python benchmarks/run.py ratios

measure: .venv/installed
	$(BIN)/python benchmarks/run.py figures

clean:
	rm -rf .venv runs
