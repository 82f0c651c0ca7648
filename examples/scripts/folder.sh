#!/usr/bin/env bash
# Every picture of a folder redrawn; names and sub-folders stay. folder.sh PHOTOS OUT
set -euo pipefail

artgen img2img "${1:-photos}" "an oil painting" --strength 0.5 --seed 1 -o "${2:-paintings}/"
