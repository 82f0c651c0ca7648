#!/usr/bin/env bash
# Loop over lines of the form "SEED PROMPT". Each image starts a new artgen process; overnight.sh loads the model once.
set -euo pipefail

while read -r seed prompt; do
    artgen txt2img "$prompt" --seed "$seed" --quiet -o loop/ || echo "failed ($?): $prompt" >&2
done <<'LINES'
7 a red fox in the snow
8 a blue car
LINES
