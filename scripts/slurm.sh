#!/usr/bin/env bash
# A run on SLURM, on one node or many, that goes on by itself after preemption and at the end of its time:
#   sbatch scripts/slurm.sh --config configs/gsm8k-qwen2.5-0.5b.yaml
# Sizes are sbatch's: sbatch --nodes=4 --time=24:00:00 scripts/slurm.sh ...  Lightning reads the ranks from SLURM.
#SBATCH --job-name=grpo
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@300
# USR1 comes to every rank that many seconds before the end: longer than a rollout with its update and a checkpoint.
set -uo pipefail

MAX_RESTARTS=${MAX_RESTARTS:-100}

# Behind the configs, which may say otherwise: the job's own folder, so that it goes on with no other job's run.
srun "${GRPO_LIGHTNING:-grpo-lightning}" fit "$@" --run "job-$SLURM_JOB_ID" \
  --trainer.num_nodes "$SLURM_JOB_NUM_NODES" --trainer.devices "$SLURM_NTASKS_PER_NODE" --ckpt_path last
code=$?

# 75: saved, go on. 138: USR1 came before Python was there to hear it.
if [[ $code == 75 || $code == 138 ]]; then
  if ((${SLURM_RESTART_COUNT:-0} >= MAX_RESTARTS)); then
    echo "slurm.sh: not started again after $MAX_RESTARTS restarts" >&2
    exit $code
  fi
  scontrol requeue "$SLURM_JOB_ID"
  exit $?
fi
exit $code
