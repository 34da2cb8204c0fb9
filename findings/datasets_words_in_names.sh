#!/usr/bin/env bash
# datasets 5.2.0: in a folder of images with a subfolder per class, one file with the word "test" in its name becomes the
# split "test", and all other files are dropped without a word.
#
# Output seen:
#   files: 4; loaded: {'test': 1}
#
# What to do: pass data_files, or list the files yourself.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pillow==12.3.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from pathlib import Path

from datasets import load_dataset
from PIL import Image

for name in ("eosinophil/1.png", "eosinophil/2.png", "monocyte/3.png", "monocyte/patient_test_4.png"):
    Path("cells", name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(Path("cells", name))
found = load_dataset("imagefolder", data_dir="cells", cache_dir="cache")
print("files: 4; loaded:", {split: rows.num_rows for split, rows in found.items()})
total = sum(rows.num_rows for rows in found.values())
sys.exit(0 if total < 4 or len(found) > 1 else "datasets loads all files into one split now.")
PYTHON
