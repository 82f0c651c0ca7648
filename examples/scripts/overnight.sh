#!/usr/bin/env bash
# Generate a batch that can be resumed: run the script again, for example from cron. Usage: overnight.sh PROMPTS OUTPUT
set -uo pipefail

prompts=${1:-prompts.txt} out=${2:-night}
artgen batch "$prompts" -o "$out/" --batch-size auto --keep-going
case $? in
0) ;;
7) echo "Some images failed. Retrying them." >&2 && artgen batch "$prompts" -o "$out/" --retry-failed --keep-going ;;
*) exit $? ;;
esac
artgen batch verify "$out"
