#!/usr/bin/env bash
# Run pytest under a hard time limit and say how many tests ran; none at all is a failure.
# Usage: scripts/run_tests.sh [PYTEST ARGUMENT...]
set -o pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
source env.bash || exit 1

if [ -x .venv-baselines/bin/python ]; then
  export SEG2D3D_BASELINES_PYTHON=${SEG2D3D_BASELINES_PYTHON:-$PWD/.venv-baselines/bin/python}
fi
report=.reports/junit.xml
mkdir -p .reports
rm -f "$report"
timeout -k 30 "${TEST_TIMEOUT_S:-3600}" python -m pytest "--junitxml=$report" "$@"
status=$?
if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
  echo "tests: stopped after ${TEST_TIMEOUT_S:-3600} s (TEST_TIMEOUT_S)" >&2
fi
python scripts/count_tests.py "$report" || exit 1
exit "$status"
