#!/usr/bin/env bash
# accelerate 1.15.0: `accelerate launch --cpu --num_processes 2` starts one process, and neither the launcher nor `Accelerator`
# says that the second is missing; a training that was meant for two processes runs in one, with half of its batch.
# With `--multi_gpu` left out, several processes on CPUs are only started through MPI.
#
# Output seen:
#   accelerate launch --cpu --num_processes 2: 1 process of 1
#   torchrun --nproc_per_node 2: 2 processes of 2
#
# What to do: start several processes on CPUs with torchrun; `Accelerator(cpu=True)` finds them.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check accelerate==1.15.0 torch==2.13.0 numpy==2.4.6
cd "$folder"
cat >job.py <<'PYTHON'
from accelerate import Accelerator

print(f"process of {Accelerator(cpu=True).num_processes}")
PYTHON
export HF_HOME="$folder" OMP_NUM_THREADS=1
count() { # runs a launcher and prints how many processes it started, and how many they believe they are
  local output
  output=$("$folder/venv/bin/$1" "${@:2}" job.py 2>errors.txt) || { cat errors.txt >&2; exit 1; }
  echo "$(grep -c "^process of" <<<"$output") of $(sort -u <<<"$output" | sed -n 's/^process of //p')"
}
launched=$(count accelerate launch --cpu --num_processes 2)
elastic=$(count torchrun --nproc_per_node 2)
echo "accelerate launch --cpu --num_processes 2: $launched"
echo "torchrun --nproc_per_node 2: $elastic"
[ "$launched" = "1 of 1" ] && [ "$elastic" = "2 of 2" ] || { echo "Accelerate launches otherwise now." >&2; exit 1; }
