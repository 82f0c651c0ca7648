#!/usr/bin/env bash
# Prompts through stdin: whatever writes lines can feed a batch. Records come back as JSON, one a line.
set -euo pipefail

for colour in red green blue; do
    for thing in apple car; do echo "a $colour $thing"; done
done | artgen batch - -o colours/ --batch-size auto --json --quiet > colours.jsonl
