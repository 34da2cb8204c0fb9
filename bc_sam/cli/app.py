"""The command line as a whole: the list of its commands, and what happens around each."""

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
    """Runs the command that was asked for; an error of the package ends it with one line, not with a trace."""
    # Importing makes some million objects that stay: looking through them for garbage would take a second.
    gc.set_threshold(100_000, 50, 50)
    logging.basicConfig(format="%(message)s")
    # Of several processes only the first one talks.
    quiet = os.environ.get("RANK", "0") != "0"
    logging.getLogger("bc_sam").setLevel(os.environ.get("BC_SAM_LOG", "WARNING" if quiet else "INFO"))
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app()
    except (BCSamError, OSError) as error:  # an OSError tells of a full disk or a missing permission by itself
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        gc.freeze()  # else Python goes through all of them once more before it ends
