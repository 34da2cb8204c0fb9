#!/usr/bin/env bash
# gradio 6.31.0: `gr.HTML` takes custom events, whose names it reads from `trigger('...')` in `js_on_load`; a listener is then
# `html.NAME(function)`. HTML is itself a container of blocks, so an event named like one of its methods, such as `add`, is
# declared without a complaint and cannot be listened to: `html.add(function)` puts the function among the children of the
# component, and the page fails where the `with` block ends, far from the cause.
#
# Output seen:
#   added: the page is built
#   add: AttributeError: 'function' object has no attribute '_id'
#
# What to do: name events so that no method of a block has the name, such as `cell_added`.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gradio==6.31.0
cd "$folder"
cat >page.py <<'PYTHON'
import gradio as gr


def build(event):
    """Builds a page with one custom event, and says what comes of it."""
    try:
        with gr.Blocks():
            html = gr.HTML("<b>cell</b>", js_on_load=f"element.onclick = () => trigger('{event}')")
            getattr(html, event)(lambda: None)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "the page is built"


for event in ("added", "add"):
    print(f"{event}: {build(event)}")
PYTHON
export GRADIO_ANALYTICS_ENABLED=False HF_HOME="$folder"
output=$("$folder/venv/bin/python" page.py)
echo "$output"
expected="added: the page is built
add: AttributeError: 'function' object has no attribute '_id'"
[ "$output" = "$expected" ] || { echo "Gradio takes the name otherwise now." >&2; exit 1; }
