#!/usr/bin/env bash
#SBATCH --job-name=artgen
#SBATCH --array=0-7
#SBATCH --gres=gpu:1
# Each task of the array generates one shard into a shared folder. Usage: sbatch slurm-array.sh PROMPTS OUTPUT
set -euo pipefail

artgen batch "${1:-prompts.txt}" -o "${2:-array}/" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
