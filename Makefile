# Two commands for a newcomer: make solve, make test.
PYTHON ?= python3
PROBLEM ?= A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?

.PHONY: solve serve test clients setup clean

solve: setup
	@.venv/bin/surefoot models pull
	@scripts/solve.sh '$(subst ','\'',$(value PROBLEM))'

serve: setup
	@.venv/bin/surefoot models pull
	@.venv/bin/surefoot serve

test: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/basedpyright
	.venv/bin/surefoot models pull --small
	.venv/bin/pytest

clients: setup
	.venv/bin/pytest -m real tests/clients/test_real_clients.py tests/bench/test_peers.py

setup: .venv/installed

.venv/installed: pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -e clients/python -e ".[dev]"
	@touch $@

clean:
	rm -rf .venv build dist
