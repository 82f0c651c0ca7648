#!/usr/bin/env bash
# A loop with options for each line, as one writes it by hand: "SEED PROMPT" a line.
# It starts artgen anew for every picture; overnight.sh does the same without.
set -euo pipefail

while read -r seed prompt; do
    artgen txt2img "$prompt" --seed "$seed" --quiet -o loop/ || echo "failed ($?): $prompt" >&2
done <<'LINES'
7 a red fox in the snow
8 a blue car
LINES
