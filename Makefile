# make run: serve on http://127.0.0.1:8000     make test: every test     make lint: ruff, mypy, oxlint and tsc
# Each first makes .venv and installs there what it needs: the server alone, or the tools of the tests too (make install).

PYTHON ?=
VENV := .venv

.PHONY: run test lint install bench real-model vendor clean

run:
	@sh scripts/venv.sh "$(PYTHON)" $(VENV)
	@$(VENV)/bin/python app.py

install:
	@sh scripts/venv.sh "$(PYTHON)" $(VENV) dev

test: install
	@sh scripts/programs.sh $(VENV)
	@$(VENV)/bin/python -m pytest -n 3 --dist loadfile

lint: install
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@sh scripts/lint_js.sh $(VENV)

bench: install
	@$(VENV)/bin/python bench/run.py

real-model: install
	@$(VENV)/bin/python scripts/real_model.py

vendor: install
	@$(VENV)/bin/python scripts/vendor.py

clean:
	rm -rf $(VENV) build *.egg-info
