#!/usr/bin/env bash
# datasets 5.2.0 with pyarrow 26.0.1: `load_dataset("parquet", data_dir=FOLDER)` reads every file of the folder as Parquet,
# also `_SUCCESS` or `_manifest.json`, which jobs of Spark and others leave beside their parts, and stops at it.
# `load_dataset(FOLDER)`, a pattern in `data_files`, pandas and pyarrow read the same folder.
#
# Output seen:
#   load_dataset(FOLDER): 2 rows
#   load_dataset("parquet", data_files=FOLDER/*.parquet): 2 rows
#   pandas.read_parquet(FOLDER): 2 rows
#   load_dataset("parquet", data_dir=FOLDER): ArrowInvalid
#
# What to do: give the folder itself, or name the parts with a pattern.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1
cd "$folder"
export HF_HOME="$folder" HF_HUB_OFFLINE=1
cat >read.py <<'PYTHON'
from pathlib import Path

import pandas
import pyarrow
import pyarrow.parquet
from datasets import disable_progress_bars, load_dataset

disable_progress_bars()
Path("results").mkdir()
pyarrow.parquet.write_table(pyarrow.table({"cell": ["a", "b"]}), "results/part-0.parquet")
Path("results/_SUCCESS").write_text("")


def report(name, read):
    try:
        print(f"{name}: {len(read())} rows")
    except Exception as error:
        print(f"{name}: {type(error).__name__}")


report("load_dataset(FOLDER)", lambda: load_dataset("results", split="train"))
pattern = "results/*.parquet"
named = lambda: load_dataset("parquet", data_files=pattern, split="train")
report('load_dataset("parquet", data_files=FOLDER/*.parquet)', named)
report("pandas.read_parquet(FOLDER)", lambda: pandas.read_parquet("results"))
report('load_dataset("parquet", data_dir=FOLDER)', lambda: load_dataset("parquet", data_dir="results", split="train"))
PYTHON
"$folder/venv/bin/python" read.py 2>/dev/null | tee seen.txt
cat >expected.txt <<'TEXT'
load_dataset(FOLDER): 2 rows
load_dataset("parquet", data_files=FOLDER/*.parquet): 2 rows
pandas.read_parquet(FOLDER): 2 rows
load_dataset("parquet", data_dir=FOLDER): ArrowInvalid
TEXT
cmp --silent seen.txt expected.txt || { echo "datasets reads the folder otherwise now." >&2; exit 1; }
