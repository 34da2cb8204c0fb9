"""Serves the page as a Space, or on this machine; what it does is in the package, in ``bc_sam.space``."""

import sys
from pathlib import Path

from bc_sam import BCSamError
from bc_sam.space.server.model_source import model_source
from bc_sam.utils.extras import extras_explained

if __name__ == "__main__":
    try:
        with extras_explained():
            from bc_sam.space.page import serve
        serve(model_source(Path(__file__).parent))
    except BCSamError as error:
        sys.exit(f"error: {error}")
