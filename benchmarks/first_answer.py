"""Time from the shell to the first label, and to the prompt: python benchmarks/first_answer.py MODEL CELL.

The last two rows run to completion: as is, and without the garbage collector settings of `bc_sam.cli.app`, which
collects less often and skips the collection at exit.
"""

import argparse
import os
import subprocess
import sys
from functools import partial

from timing import alternate, machine, print_table, spread

NOTHING = "pass"
IMPORT = "import bc_sam"
COMMAND = "from bc_sam.cli import main; main()"
WITHOUT = f"import gc; gc.freeze = gc.set_threshold = lambda *_: None; {COMMAND}"


def main() -> None:
    """Runs each command several times, interleaved, and prints a table of the seconds to its first line or exit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("cell")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    arguments = ["predict", options.cell, "--model", options.model]
    commands = {
        "python -c pass": [sys.executable, "-c", NOTHING],
        "import bc_sam": [sys.executable, "-c", IMPORT],
        "bc-sam predict CELL --model MODEL": [sys.executable, "-c", COMMAND, *arguments],
    }
    variants = {name: partial(start, command) for name, command in commands.items()}
    variants["to completion"] = partial(finish, [sys.executable, "-c", COMMAND, *arguments])
    variants["to completion, default garbage collector"] = partial(finish, [sys.executable, "-c", WITHOUT, *arguments])
    seconds = alternate(variants, options.rounds)
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


def finish(command: list[str]) -> None:
    """Runs a command to its end."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
