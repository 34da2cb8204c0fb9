#!/usr/bin/env bash
# datasets 5.2.0 with pyarrow 26.0.1: of the parts of a job, one that has no rows keeps all others from being loaded, if it
# was written from an empty table: pyarrow then writes a row group without rows, which the Parquet builder does not
# read. pandas reads the same folder, and datasets reads a part without any row group.
#
# Output seen:
#   pandas, empty row group: 2 rows
#   datasets, empty row group: DatasetGenerationError from ArrowInvalid
#   pandas, no row group: 2 rows
#   datasets, no row group: 2 rows
#
# What to do: write no table where there are no rows, and only close the writer.

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
full = pyarrow.table({"cell": ["a", "b"]})
for folder, tables in {"empty-group": [full[:0]], "no-group": []}.items():
    Path(folder).mkdir()
    pyarrow.parquet.write_table(full, f"{folder}/part-0.parquet")
    with pyarrow.parquet.ParquetWriter(f"{folder}/part-1.parquet", full.schema) as writer:
        for table in tables:
            writer.write_table(table)


def report(what, read):
    try:
        print(f"{what}: {len(read())} rows")
    except Exception as error:
        print(f"{what}: {type(error).__name__} from {type(error.__cause__).__name__}")


report("pandas, empty row group", lambda: pandas.read_parquet("empty-group"))
report("datasets, empty row group", lambda: load_dataset("empty-group", split="train"))
report("pandas, no row group", lambda: pandas.read_parquet("no-group"))
report("datasets, no row group", lambda: load_dataset("no-group", split="train"))
PYTHON
"$folder/venv/bin/python" read.py 2>/dev/null | tee seen.txt
cat >expected.txt <<'TEXT'
pandas, empty row group: 2 rows
datasets, empty row group: DatasetGenerationError from ArrowInvalid
pandas, no row group: 2 rows
datasets, no row group: 2 rows
TEXT
cmp --silent seen.txt expected.txt || { echo "datasets reads an empty part otherwise now." >&2; exit 1; }
