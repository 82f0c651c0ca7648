#!/usr/bin/env bash
# Compare steps and guidance scales. Writes all images, the contact sheet sweep/sheet.png and the table sweep/sweep.csv.
set -euo pipefail

artgen txt2img "a red fox in the snow" --seed 7 --sweep steps=2,4 --sweep guidance=1:5:2 -o sweep/
