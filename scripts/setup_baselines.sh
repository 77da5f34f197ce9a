#!/usr/bin/env bash
# Build .venv-baselines, the environment of the trackers that results are compared with: they
# bring another OpenCV than ours. Tests and benchmarks find it by SEG2D3D_BASELINES_PYTHON, which
# `make test` sets where this has run. Needs `make setup` first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minor=$(.venv/bin/python -c 'import sys; print("%d%d" % sys.version_info[:2])')
requirements=$(.venv/bin/python scripts/requirements.py baselines)
[ -x .venv-baselines/bin/python ] || .venv/bin/python -m venv .venv-baselines
.venv-baselines/bin/python -m pip install --quiet --disable-pip-version-check \
  -c "constraints/py$minor.txt" -r <(echo "$requirements")
echo "setup: baselines ready in .venv-baselines"
