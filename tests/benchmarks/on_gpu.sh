#!/usr/bin/env bash
# Run the gpu tests and the CUDA benchmarks on a machine with one GPU and without a network.
#
#   tests/benchmarks/on_gpu.sh [WHEELS_FOLDER]
#
# The script uses the `python` on PATH, which must have torch with CUDA support, and creates no environment. Packages
# that this Python lacks can be in WHEELS_FOLDER: the script unpacks its wheels into a temporary folder, without
# dependencies and without the network. The script ends after nine minutes at most. It writes
# tests/benchmarks/results/cuda.json, also when the time limit ends a part, and prints a summary.
set -uo pipefail

readonly LIMIT_S=520 SUMMARY_S=8
readonly root="$(cd "$(dirname "$0")/../.." && pwd)"
readonly benchmarks="$root/tests/benchmarks"
readonly work="$(mktemp -d "${TMPDIR:-/tmp}/artgen-on-gpu-XXXXXX")"
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT

export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
export TORCHINDUCTOR_CACHE_DIR="$work/inductor" XDG_CACHE_HOME="$work/cache"
cd "$root" || exit 1

if [ $# -gt 0 ]; then
    python -m pip install --quiet --no-deps --target "$work/packages" "$1"/*.whl || exit 1
    export PYTHONPATH="$PYTHONPATH:$work/packages"
fi
python - <<'PYTHON' || exit 1
import importlib.util, sys
names = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "typer", "numpy", "PIL", "scipy", "pytest", "hypothesis")
if missing := [name for name in names if importlib.util.find_spec(name) is None]:
    sys.exit(f"error: Python lacks {', '.join(missing)}. Pass a folder with their wheels.")
import torch
if not torch.cuda.is_available():
    sys.exit("error: torch cannot use a CUDA device.")
print(torch.cuda.get_device_name(), "torch", torch.__version__, "CUDA", torch.version.cuda)
PYTHON

# Run a command for at most $1 seconds and at most until the time limit of the script.
limited() {
    local seconds=$1 left=$((LIMIT_S - SUMMARY_S - SECONDS))
    shift
    [ "$left" -lt 5 ] && { echo "skipped, no time left: $*"; return 0; }
    timeout --kill-after=5 "$((seconds < left ? seconds : left))" "$@"
    local code=$?
    [ "$code" -ne 0 ] && echo "exit code $code after $SECONDS s: $*"
    return 0
}

# Measure each optimization alone: on_gpu NAME SECONDS SETTINGS
optimizations() {
    limited "$2" python "$benchmarks/programs/cuda_optimizations.py" "$work/models/$1" "$work/optimizations-$1.json" "$3"
}

mkdir -p "$work/models"
(for name in sd15 sdxl; do
    python "$benchmarks/programs/build_model.py" "$name" "$work/models/$name.part" && mv "$work/models/$name.part" "$work/models/$name"
done) >"$work/build.log" 2>&1 &
readonly builder=$!

limited 150 python -m pytest -q -m gpu -p no:cacheprovider --junitxml="$work/tests.xml" tests/engine/test_gpu.py
limited 150 bash -c "while kill -0 $builder 2>/dev/null && [ ! -d '$work/models/sd15' ]; do sleep 1; done"
optimizations sd15 100 '{"pipeline": "StableDiffusionPipeline", "steps": 30, "guidance_scale": 7.5, "width": 512, "height": 512}'
limited 60 python "$benchmarks/run.py" --page "$work/RESULTS.md" --cache "$work/models" --rounds 1 --only cuda-sd15-exact
limited 120 bash -c "while kill -0 $builder 2>/dev/null && [ ! -d '$work/models/sdxl' ]; do sleep 1; done"
optimizations sdxl 130 '{"pipeline": "StableDiffusionXLPipeline", "steps": 30, "guidance_scale": 5.0, "width": 1024, "height": 1024}'
limited 200 python "$benchmarks/run.py" --page "$work/RESULTS.md" --cache "$work/models" --quick \
    --only cuda-sd15 cuda-sd15-full cuda-batch cuda-sdxl-full cuda-8gb
cat "$work/build.log"
timeout "$SUMMARY_S" python "$benchmarks/gpu_summary.py" "$work" "$SECONDS"
