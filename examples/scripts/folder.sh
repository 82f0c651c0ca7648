#!/usr/bin/env bash
# Run img2img on each image of a folder. Names and subfolders are kept. Usage: folder.sh PHOTOS OUTPUT
set -euo pipefail

artgen img2img "${1:-photos}" "an oil painting" --strength 0.5 --seed 1 -o "${2:-paintings}/"
