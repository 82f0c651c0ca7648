#!/usr/bin/env bash
# A batch that goes on where it stopped, whatever stopped it: run it again, from cron if you like.
# overnight.sh PROMPTS OUT
set -uo pipefail

prompts=${1:-prompts.txt} out=${2:-night}
artgen batch "$prompts" -o "$out/" --batch-size auto --keep-going
case $? in
0) ;;
7) echo "some failed; once more" >&2 && artgen batch "$prompts" -o "$out/" --retry-failed --keep-going ;;
*) exit $? ;;
esac
artgen batch verify "$out"
