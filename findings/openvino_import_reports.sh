#!/usr/bin/env bash
# openvino 2026.4.1 with openvino-telemetry 2025.2.0, which it depends on: the first `import openvino` of a user writes an id
# into the home folder and asks for an analytics host, without a dialog or a word. It does so before any model is loaded, from
# a forked process. No network is used here: the script only notes the host that is asked for.
#
# Output seen:
#   import openvino: asks for www.google-analytics.com, writes intel/openvino_ga_cid intel/stats
#   without openvino-telemetry: asks for nothing, writes nothing
#
# What to do where data are sensitive: uninstall openvino-telemetry, which OpenVINO does without.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  openvino==2026.4.1 openvino-telemetry==2025.2.0 numpy==2.4.6
cat >"$folder/look.py" <<'PYTHON'
import socket
import sys
import time
from pathlib import Path

asked = Path("asked.txt")


def note(host, *rest, **more):
    with asked.open("a") as file:
        print(host, file=file)
    raise OSError("This script uses no network.")


socket.getaddrinfo = note
import openvino  # noqa: E402

time.sleep(5)
hosts = sorted(set(asked.read_text().split())) if asked.exists() else []
files = sorted(str(path.relative_to(Path.home())) for path in Path.home().rglob("*") if path.is_file())
print(f"{sys.argv[1]}: asks for {' '.join(hosts) or 'nothing'}, writes {' '.join(files) or 'nothing'}")
PYTHON
look() {
  mkdir -p "$folder/home" "$folder/$2"
  (cd "$folder/$2" && env -u CI -u TF_BUILD -u JENKINS_URL HOME="$folder/home" "$folder/venv/bin/python" "$folder/look.py" "$1")
  rm -r "$folder/home"
}
{
  look "import openvino" with
  "$folder/venv/bin/pip" uninstall --quiet --yes openvino-telemetry
  look "without openvino-telemetry" without
} 2>/dev/null | tee "$folder/seen.txt"
cat >"$folder/expected.txt" <<'TEXT'
import openvino: asks for www.google-analytics.com, writes intel/openvino_ga_cid intel/stats
without openvino-telemetry: asks for nothing, writes nothing
TEXT
cmp --silent "$folder/seen.txt" "$folder/expected.txt" || { echo "openvino reports otherwise now." >&2; exit 1; }
