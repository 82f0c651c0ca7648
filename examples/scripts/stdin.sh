#!/usr/bin/env bash
# Read prompts from stdin and write one JSON record per line.
set -euo pipefail

for color in red green blue; do
    for thing in apple car; do echo "a $color $thing"; done
done | artgen batch - -o colors/ --batch-size auto --json --quiet > colors.jsonl
