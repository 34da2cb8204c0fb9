#!/usr/bin/env bash
# numpy 2.4.6: if a file cannot grow any more, as on a full disk, `np.save` of a small array ends without an error, and the
# end of the array is missing from the file. A limit on the size of files stands for the full disk here; only the first
# 128 bytes, the header, fit.
#
# Output seen:
#   saved 72 values without an error; bytes in the file: 128 of 200
#   loading it: ValueError
#
# What to do: write `np.save` to io.BytesIO, and its bytes to the file.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6

cat > "$folder/save.py" <<'PYTHON'
import resource
import signal
import sys
from pathlib import Path

import numpy as np

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write then fails as on a full disk, with an error number
path = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (128, resource.RLIM_INFINITY))
try:
    np.save(path, np.arange(72, dtype=np.uint8))
except OSError as error:
    sys.exit(f"changed: np.save now reports {error}")
size = path.stat().st_size
print(f"saved 72 values without an error; bytes in the file: {size} of 200")
if size == 200:
    sys.exit("changed: the file is complete")
try:
    np.load(path)
except ValueError as error:
    print(f"loading it: {type(error).__name__}")
PYTHON
"$folder/venv/bin/python" "$folder/save.py" "$folder/array.npy"
