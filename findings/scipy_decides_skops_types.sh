#!/usr/bin/env bash
# scikit-learn 1.9.1 with SciPy 1.14.1 or 1.17.1, skops 0.16.0: which types a skops file of an `MLPClassifier` has depends on the
# version of SciPy that it was fitted with. Fitted on float32 data, its `loss_` is a numpy.float32 with SciPy 1.14.1 and
# a numpy.float64 with 1.17.1; the other versions are the same. A reader with an allow list of types that was made with the newer
# SciPy finds an unknown type in the older file, although class, parameters and the version of scikit-learn are equal.
#
# Output seen:
#   scipy 1.14.1: loss_ is float32
#   scipy 1.17.1: loss_ is float64
#
# What to do: allow both types of number.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/fit.py" <<'PYTHON'
import warnings

import numpy as np
import scipy
import skops.io
from sklearn.neural_network import MLPClassifier

warnings.simplefilter("ignore")  # ten iterations are too few to converge
cells = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)
network = MLPClassifier((4,), max_iter=10, random_state=0).fit(cells, np.repeat([0, 1, 2], 20))
written = skops.io.dumps(network)
loaded = skops.io.loads(written, trusted=skops.io.get_untrusted_types(data=written))  # our own file
print(f"scipy {scipy.__version__}: loss_ is {type(loaded.loss_).__name__}")
PYTHON
for version in 1.14.1 1.17.1; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check \
    "scipy==$version" scikit-learn==1.9.1 numpy==2.2.6 skops==0.16.0
  "$folder/$version/bin/python" "$folder/fit.py"
done | tee "$folder/output"
expected="scipy 1.14.1: loss_ is float32
scipy 1.17.1: loss_ is float64"
[ "$(cat "$folder/output")" = "$expected" ] || { echo "The types no longer differ." >&2; exit 1; }
