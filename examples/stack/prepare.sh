#!/bin/sh
# What the other services share: a token for the daemon's API, the rules of its SLOs, and the example's models as this
# machine measures them. What is there already stays.
#
#   prepare [SHARED [SOURCE [CONFIG]]]     folders: the volume, a checkout, the daemon's configuration
set -eu
shared=${1:-/shared}
source=${2:-/opt/sloctl}
config=${3:-/etc/sloctl}

if [ ! -s "$shared/token" ]; then
  # Alertmanager's container runs as another user; nobody else reaches the volume.
  python -c 'import secrets; print(secrets.token_urlsafe(32))' > "$shared/token"
fi

mkdir -p "$shared/rules"
sloctl rules "$config/slo.yaml" --windows "$config/windows.yaml" --output "$shared/rules/slo.yaml"

if [ ! -e "$shared/repository/digits/int8/manifest.yaml" ]; then
  rm -rf "$shared/repository"
  python "$source/examples/digits/arrays.py" "$shared/arrays"
  sloctl build "$source/examples/digits/digits_resnet.fp32.onnx" --model digits --repository "$shared/repository" \
    --target onnxruntime --precisions fp32,int8 --batch 1/4/4 \
    --calibrate "$shared/arrays/calibration.npz" --evaluate "$shared/arrays/evaluation.npz"
fi
