#!/usr/bin/env bash
# What do steps and guidance do? Every combination, a labelled contact sheet and a table: sweep/sheet.png, sweep/sweep.csv
set -euo pipefail

artgen txt2img "a red fox in the snow" --seed 7 --sweep steps=2,4 --sweep guidance=1:5:2 -o sweep/
