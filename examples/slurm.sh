#!/bin/bash
# A Ray cluster inside one Slurm job, and a run on it: a worker for each GPU of each node.
#
#   sbatch examples/slurm.sh DATA MODEL OUT [more options of `gradprism spectra`]
#
# Submitted again with the same words, it resumes. OUT may be a folder that the first node sees, or s3://...
#SBATCH --job-name=gradprism
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=B:INT@120   # two minutes before the end: stop after the batch in hand

set -euo pipefail
data=$1 model=$2 out=$3
shift 3

nodes=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000))
cpus=${SLURM_CPUS_PER_TASK:-1}
export RAY_USAGE_STATS_ENABLED=0
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN  # others on these nodes cannot join
RAY_AUTH_TOKEN=$(python3 -c 'import secrets; print(secrets.token_hex(32))')

on() { srun --cpus-per-task="$cpus" "$@"; }  # without it a step may get one core
on --nodes=1 --ntasks=1 -w "$head" \
  ray start --head --node-ip-address="$address" --port="$port" --num-cpus="$cpus" --block &
started=$!
until ray health-check --address "$address:$port" >/dev/null 2>&1; do
  kill -0 "$started" || { echo "The head of the cluster did not start." >&2; exit 1; }
  sleep 2
done
if ((${#nodes[@]} > 1)); then
  on --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --exclude="$head" \
    ray start --address="$address:$port" --num-cpus="$cpus" --block &
fi
export RAY_ADDRESS="$address:$port"
count='import ray; ray.init(log_to_driver=False, logging_level="ERROR"); print(sum(n["Alive"] for n in ray.nodes()))'
for _ in $(seq 60); do  # there are as many workers as GPUs are in sight when the run begins
  (($(python3 -c "$count") >= ${#nodes[@]})) && break
  sleep 2
done

gradprism spectra "$data" --model "$model" --out "$out" --engine ray --address auto "$@" &
run=$!
trap 'kill -INT $run' INT
wait "$run" || wait "$run"  # the first may end with the signal, the second with the run
