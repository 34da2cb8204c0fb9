#!/usr/bin/env bash
# safetensors 0.8.0: the same tensors saved twice with the same metadata give files of different bytes, as soon as the
# metadata has several entries: their order in the header is random. With one entry, or none, the bytes are equal.
# Hashes of files, caches keyed by content and deduplicating stores take such files for different ones.
#
# Output seen:
#   no metadata: 1 different file of 40
#   one entry: 1 different file of 40
#   two entries: several different files of 40
#
# What to do: put all entries into one, as JSON with sorted keys.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
cd "$folder"
cat >save.py <<'PYTHON'
import numpy
from safetensors.numpy import save

tensors = {"weight": numpy.zeros(3, numpy.float32)}
for name, metadata in {
    "no metadata": None,
    "one entry": {"format": "np"},
    "two entries": {"format": "np", "laboratory": "ours"},
}.items():
    files = {save(tensors, metadata) for _ in range(40)}
    number = "1 different file" if len(files) == 1 else "several different files"
    print(f"{name}: {number} of 40")
PYTHON
"$folder/venv/bin/python" save.py | tee seen.txt
cat >expected.txt <<'TEXT'
no metadata: 1 different file of 40
one entry: 1 different file of 40
two entries: several different files of 40
TEXT
cmp --silent seen.txt expected.txt || { echo "safetensors orders metadata otherwise now." >&2; exit 1; }
