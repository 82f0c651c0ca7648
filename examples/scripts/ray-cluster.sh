#!/usr/bin/env bash
# On a Ray cluster: one picture at a time on every GPU (or core) of it. Needs: pip install 'artgen[ray]'
# RAY_ADDRESS is the cluster's head, such as 10.0.0.1:6379; without it one is started here for the time of the batch.
set -euo pipefail

artgen batch "${1:-prompts.txt}" -o "${2:-cluster}/" --ray "${RAY_ADDRESS:-local}"
