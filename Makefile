# On a fresh machine with Python 3.11 or newer (venv and pip) and make, each of these first makes .venv.

PYTHONS := python3 python3.11 python3.12 python3.13 python3.14 python
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test lint check clean

demo: $(READY)
	$(BIN)/apiece demo

test: $(READY)
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports
	$(BIN)/pyright

check: lint test

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# One pip command, so that torch and torchvision come as a pair.
$(READY): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || for python in $(PYTHONS); do \
	    $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || continue; \
	    echo "Setting up .venv with $$($$python --version): this takes a few minutes, once." >&2; \
	    exec $$python -m venv --clear .venv; \
	done
	@test -x $(BIN)/python || { echo "Python 3.11 or newer with venv and pip is needed: none of $(PYTHONS) is that." >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	    torch torchvision --editable '.[dev]'
	@touch $@
