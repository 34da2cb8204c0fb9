"""From the shell to the first label: python benchmarks/first_answer.py MODEL CELL."""

import argparse
import os
import subprocess
import sys
import time

from timing import alternate, machine, print_table, spread

NOTHING = "pass"
IMPORT = "import bc_sam"


def main() -> None:
    """Starts each command several times, in turn, and prints a table."""
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
    ways = {name: lambda command=command: start(command) for name, command in commands.items()}
    seconds = alternate(ways, options.rounds)
    print(machine())
    print_table(("command", "seconds, median (range)"), ((name, spread(v, 1, 2)) for name, v in seconds.items()))


def start(command: list[str]) -> float:
    """Runs a command to its end."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
