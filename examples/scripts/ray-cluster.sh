#!/usr/bin/env bash
# Generate a batch on a Ray cluster, one image at a time per GPU (or core). Requires: pip install 'artgen[ray]'
# RAY_ADDRESS is the address of the head node, such as 10.0.0.1:6379. If RAY_ADDRESS is unset, the batch starts a local cluster.
set -euo pipefail

artgen batch "${1:-prompts.txt}" -o "${2:-cluster}/" --ray "${RAY_ADDRESS:-local}"
