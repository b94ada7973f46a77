# Two commands for a newcomer: make solve, make test.
PYTHON ?= python3
PROBLEM ?= A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?

.PHONY: solve serve test clients audit setup clean

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
	.venv/bin/pytest -m real tests/clients/test_real_clients.py

audit: setup .venv/audit/installed
	.venv/bin/python scripts/audit.py .venv/audit/bin dist/sbom.json

setup: .venv/installed

.venv/installed: pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -e clients/python -e ".[dev]"
	@touch $@

.venv/audit/installed: Makefile | .venv/installed
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

clean:
	rm -rf .venv build dist
