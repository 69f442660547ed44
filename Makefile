# make quickstart: install, train the embedded default, show that it learnt.  make test: the whole suite.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: quickstart test check lint audit format clean

quickstart: $(INSTALLED)
	$(BIN)/grpo-lightning fit --config configs/quickstart.yaml

test: $(INSTALLED)
	$(BIN)/pytest -n auto --dist loadgroup

check: lint test

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pip --disable-pip-version-check check

# Known vulnerabilities of what is installed. Not part of check: it asks the network, and needs `pip install pip-audit`.
audit: $(INSTALLED)
	$(BIN)/python -m pip_audit

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv

# One environment for everything, at the pinned versions: an unpinned torch may bring gigabytes that nobody needs here.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}. Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench,ray,lora]'
	@touch $@
