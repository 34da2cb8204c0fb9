#!/usr/bin/env bash
# gradio 6.31.0: importing a module that defines a subclass of a component writes a file into the source tree: NAME.pyi
# beside the module, with a copy of its text. Tools that read stubs then see the copy, also after the module has changed.
#
# Output seen:
#   written by an import: ['own_components.pyi']
#
# What to do: do not subclass components, or keep *.pyi out of the package and of version control.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gradio==6.31.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
from pathlib import Path

Path("own_components.py").write_text("import gradio as gr\n\n\nclass Threshold(gr.Number):\n    is_template = True\n")
sys.path.insert(0, ".")
before = {path.name for path in Path().iterdir()}
import own_components  # noqa: F401

written = sorted({path.name for path in Path().iterdir()} - before - {"__pycache__"})
print("written by an import:", written)
sys.exit(0 if written == ["own_components.pyi"] else "Importing a subclass writes nothing now.")
PYTHON
