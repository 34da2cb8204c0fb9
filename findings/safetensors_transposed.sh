#!/usr/bin/env bash
# safetensors 0.8.0 with numpy 2.4.6: `safetensors.numpy.save` writes the memory of an array, not its values in order.
# A transposed array, which is a valid argument, comes back with the right shape and scrambled values, without a word.
#
# Output seen:
#   saved  [[0, 3], [1, 4], [2, 5]]
#   loaded [[0, 1], [2, 3], [4, 5]]
#
# What to do: pass np.ascontiguousarray(array).

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from safetensors.numpy import load, save

saved = np.arange(6).reshape(2, 3).T
loaded = load(save({"array": saved}))["array"]
print("saved ", saved.tolist())
print("loaded", loaded.tolist())
scrambled = loaded.shape == saved.shape and not np.array_equal(loaded, saved)
sys.exit(0 if scrambled else "safetensors no longer scrambles a transposed array.")
PYTHON
