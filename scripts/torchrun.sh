#!/usr/bin/env bash
# A run on several machines without a scheduler: the same command on each, with the machine's number from 0 on.
#   NODES=2 NODE=0 MASTER=10.0.0.1 scripts/torchrun.sh --run big --config configs/gsm8k-qwen2.5-0.5b.yaml
# On one machine: scripts/torchrun.sh --run big --config ...
# The folder of the run must be on a disk that all machines share. SIGTERM to torchrun saves and ends; the same command
# goes on, and does nothing once the run is finished, so `until scripts/torchrun.sh ...; do sleep 10; done` is a restart.
set -euo pipefail

NODES=${NODES:-1} NODE=${NODE:-0} MASTER=${MASTER:-127.0.0.1} PORT=${PORT:-29500}
DEVICES=${DEVICES:-$(nvidia-smi -L | wc -l)}

exec "${TORCHRUN:-torchrun}" --nnodes "$NODES" --node-rank "$NODE" --nproc-per-node "$DEVICES" \
  --master-addr "$MASTER" --master-port "$PORT" \
  -m grpo_lightning fit "$@" --trainer.num_nodes "$NODES" --trainer.devices "$DEVICES" --ckpt_path last
