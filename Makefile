# make run: serve on http://127.0.0.1:8000     make test: every test     make lint: ruff and mypy
# Each first makes .venv and installs what pyproject.toml names; a second call finds it done.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed

.PHONY: run test lint install bench vendor clean

run: install
	@$(VENV)/bin/python app.py

test: install
	@sh scripts/programs.sh
	@$(VENV)/bin/python -m pytest -n 2 --dist loadfile

lint: install
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@sh scripts/venv.sh $(PYTHON) $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

bench: install
	@$(VENV)/bin/python bench/run.py

vendor: install
	@$(VENV)/bin/python scripts/vendor.py

clean:
	rm -rf $(VENV) build *.egg-info
