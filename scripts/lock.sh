#!/usr/bin/env bash
# Writes anew what the images install: every package with its version and hashes, and no address.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
    .venv/bin/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url \
        --python-version 3.11 --python-platform x86_64-manylinux_2_28 "$@"
}
compile pyproject.toml - --extra postgres --no-emit-package surefoot \
    --output-file docker/service/requirements.txt <<<$'./clients/python\nhatchling'
compile - --output-file docker/router/requirements.txt <<<'vllm-router==0.1.17'
