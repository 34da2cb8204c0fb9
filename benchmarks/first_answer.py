"""Time from the shell to the first label: python benchmarks/first_answer.py MODEL CELL."""

import argparse
import os
import subprocess
import sys
from functools import partial

from timing import alternate, machine, print_table, spread

NOTHING = "pass"
IMPORT = "import bc_sam"


def main() -> None:
    """Runs each command several times, interleaved, and prints a table of the seconds to its first line or exit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("cell")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    predict = [sys.executable, "-m", "bc_sam", "predict", options.cell, "--model", options.model]
    commands = {
        "python -c pass": [sys.executable, "-c", NOTHING],
        "import bc_sam": [sys.executable, "-c", IMPORT],
        "bc-sam predict CELL --model MODEL": predict,
    }
    seconds = alternate({name: partial(start, command) for name, command in commands.items()}, options.rounds)
    print(machine())
    print_table(("command", "seconds, median (range)"), ((name, spread(v, 1, 2)) for name, v in seconds.items()))


def start(command: list[str]) -> None:
    """Runs a command until it prints its first line, or until it exits if it prints nothing."""
    unbuffered = os.environ | {"PYTHONUNBUFFERED": "1"}  # as in a terminal, which is line-buffered
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=unbuffered) as process:
        if process.stdout and process.stdout.readline():
            process.kill()
        elif process.wait():
            raise SystemExit(f"{command} failed with exit status {process.returncode}.")


if __name__ == "__main__":
    main()
