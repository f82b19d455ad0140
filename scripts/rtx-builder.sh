#!/usr/bin/env bash
# TensorRT-RTX's builder (96 MB to download, 240 MB on disk) in a virtual environment of its own, DIR (default
# .rtx-builder); prints the Python to give to `sloctl build --builder-python`. It builds plans with no GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${1:-.rtx-builder}
pins=scripts/rtx-builder.txt
if ! cmp -s "$pins" "$dir/installed.txt"; then
  rm -rf "$dir"
  "${PYTHON:-python3}" -m venv "$dir"
  "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$pins" >&2
  cp "$pins" "$dir/installed.txt"
fi
realpath -s "$dir/bin/python"
