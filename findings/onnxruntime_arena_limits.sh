#!/usr/bin/env bash
# onnxruntime 1.32.0 (1.23.0 as well): create_and_register_allocator, whose reference announces an error if an allocator for
# the same memory is registered already, silently replaces it. Sessions keep the arena that was registered when they were
# opened, so that each can have a limit of its own, although the allocator is said to be that of the process. The limit
# counts what is computed; weights in the file, however large, are not counted.
#
# Output seen:
#   opened under 64 MiB: 100 MiB do not fit
#   opened under 512 MiB, registered second: 100 MiB fit
#   the first one afterwards: 100 MiB do not fit
#   opened under 64 MiB with 100 MiB of weights: opened, and computed
#
# What to do: to limit one session, register an arena, open the session with session.use_env_allocators, and let no other
# thread open one in between. To limit all of a process together, register once. Limit the size of files separately.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cat >"$folder/look.py" <<'PYTHON'
import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

MIB = 2**20
CPU = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)


def graph(nodes, weights=()):
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in "xy")
    inner = helper.make_graph(nodes, "graph", [x], [y], list(weights))
    return helper.make_model(inner, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def opened(content, mib):
    ort.create_and_register_allocator(CPU, ort.OrtArenaCfg({"max_mem": mib * MIB, "arena_extend_strategy": 1}))
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 4
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def fits(session):
    try:
        session.run(None, {"x": np.ones(MIB // 4, np.float32)})
    except Exception as error:
        assert "Available memory" in str(error), error
        return "do not fit"
    return "fit"


hundred = numpy_helper.from_array(np.array([100]), "hundred")
repeat = [helper.make_node("Tile", ["x", "hundred"], ["many"]), helper.make_node("ReduceMax", ["many"], ["y"])]
first = opened(graph(repeat, [hundred]), 64)
print("opened under 64 MiB: 100 MiB", fits(first))
print("opened under 512 MiB, registered second: 100 MiB", fits(opened(graph(repeat, [hundred]), 512)))
print("the first one afterwards: 100 MiB", fits(first))
weights = numpy_helper.from_array(np.ones(25 * MIB, np.float32), "weights")
nodes = [helper.make_node("ReduceMax", ["weights"], ["most"]), helper.make_node("Add", ["x", "most"], ["y"])]
assert fits(opened(graph(nodes, [weights]), 64)) == "fit"
print("opened under 64 MiB with 100 MiB of weights: opened, and computed")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" | tee "$folder/seen.txt"
cat >"$folder/expected.txt" <<'TEXT'
opened under 64 MiB: 100 MiB do not fit
opened under 512 MiB, registered second: 100 MiB fit
the first one afterwards: 100 MiB do not fit
opened under 64 MiB with 100 MiB of weights: opened, and computed
TEXT
cmp --silent "$folder/seen.txt" "$folder/expected.txt" || { echo "onnxruntime behaves otherwise now." >&2; exit 1; }
