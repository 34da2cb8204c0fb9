#!/usr/bin/env bash
# huggingface_hub 2.4.0: if a server answers 429 with "Retry-After: 86400", a download sleeps for a day inside the call,
# with a warning only. There is no setting for the longest wait, and no timeout applies to it.
#
# Output seen:
#   the client would sleep for 86401.0 seconds
#
# What to do: raise from a response hook of `huggingface_hub.get_session()`.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check huggingface_hub==2.4.0
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


class Busy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(429)
        self.send_header("Retry-After", "86400")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Busy)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": "home"}

from huggingface_hub import HfApi


class Slept(Exception):
    pass


def sleep(seconds):
    raise Slept(seconds)


time.sleep = sleep  # instead of waiting for it
try:
    list(HfApi().list_repo_tree("owner/name"))
except Slept as slept:
    print(f"the client would sleep for {slept} seconds")
    sys.exit(0 if float(str(slept)) > 86_000 else "The client sleeps for less now.")
except Exception as error:
    sys.exit(f"The client no longer sleeps: {error!r}")
sys.exit("The client no longer sleeps.")
PYTHON
