"""The command line application, and what happens around every command: logging, errors, exit status."""

import gc
import logging
import os
import sys
import warnings

import typer

from bc_sam.errors import BCSamError

app = typer.Typer(
    help="Names single blood cells across laboratories. Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> None:
    """Runs the command; an error of the package ends it with one line instead of a traceback."""
    # Importing makes some million objects that stay. Not looking through them for garbage, here and before the end,
    # saves two of seven seconds of CPU time; benchmarks/first_answer.py measures it.
    gc.set_threshold(100_000, 50, 50)
    logging.basicConfig(format="%(message)s")
    # Of several processes only the first one logs.
    quiet = os.environ.get("RANK", "0") != "0"
    logging.getLogger("bc_sam").setLevel(os.environ.get("BC_SAM_LOG", "WARNING" if quiet else "INFO"))
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app()
    except (BCSamError, OSError) as error:  # an OSError such as a full disk explains itself
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        gc.freeze()
