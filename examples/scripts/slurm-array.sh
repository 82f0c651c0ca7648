#!/usr/bin/env bash
#SBATCH --job-name=artgen
#SBATCH --array=0-7
#SBATCH --gres=gpu:1
# Each task of the array draws its part into one folder that all of them see. sbatch slurm-array.sh PROMPTS OUT
set -euo pipefail

artgen batch "${1:-prompts.txt}" -o "${2:-array}/" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
