"""The command line application: logging, error handling and exit status of every command."""

import errno
import gc
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer

from bc_sam.cli.former import rewrite_former_spellings
from bc_sam.errors import BCSamError
from bc_sam.utils.display import printable
from bc_sam.utils.extras import extras_explained

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from bc_sam import __version__

        print(f"bc-sam {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Names single blood cells across laboratories.

    Research software, not a medical device.

    For example:

    bc-sam predict cells/
    """


@contextmanager
def _stopped_in_order() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the program like Ctrl+C, so that temporary files are removed."""

    def stop(number: int, frame: FrameType | None) -> None:
        print(f"Stopped by {signal.Signals(number).name}.", file=sys.stderr)
        sys.exit(128 + number)

    numbers = [
        signal.Signals[name] for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
    ]  # Windows has no SIGHUP
    # Only what is not handled yet, as nohup lets SIGHUP be ignored; and only the main thread may handle signals.
    in_main_thread = threading.current_thread() is threading.main_thread()
    handled = [number for number in numbers if in_main_thread and signal.getsignal(number) == signal.SIG_DFL]
    for number in handled:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def run() -> None:
    """Runs the command line; expected errors are reported in one line, without a traceback."""
    # Imports allocate about a million long-lived objects. Keeping the garbage collector from scanning them, now and at
    # exit, saves two of seven seconds of CPU time; benchmarks/first_answer.py measures it.
    gc.set_threshold(100_000, 50, 50)
    _never_fail_to_print()
    handler = logging.StreamHandler()
    handler.setFormatter(_PrintableFormatter())
    logging.basicConfig(handlers=[handler])
    # Only the main process logs.
    is_worker = os.environ.get("RANK", "0") != "0"
    logging.getLogger("bc_sam").setLevel(os.environ.get("BC_SAM_LOG", "WARNING" if is_worker else "INFO"))
    warnings.filterwarnings("ignore", category=FutureWarning)
    if not sys.stderr.isatty():  # tqdm's own bars ask this themselves, those of datasets do not
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        # In place, because typer expands wildcards on Windows only if it reads sys.argv itself.
        sys.argv[1:] = rewrite_former_spellings(sys.argv[1:])
        with _stopped_in_order(), extras_explained():
            app()
    except (BCSamError, OSError) as error:
        print(printable(f"error: {' '.join(_explained(error).splitlines())}"), file=sys.stderr)
        sys.exit(1)
    finally:
        gc.freeze()


def _explained(error: Exception) -> str:
    """Returns the message of an error; that of a full disk says what to do."""
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return f"{error}. Free some space, then run the command again." if is_full else str(error)


class _PrintableFormatter(logging.Formatter):
    """Messages whose file names and labels cannot control the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))


def _never_fail_to_print() -> None:
    """Writes out characters that the terminal's encoding lacks, instead of ending the run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
