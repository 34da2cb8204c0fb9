"""Time from the shell to the first label, and to the prompt: python benchmarks/first_answer.py MODEL CELL.

With ``--backend torch onnx`` both are compared, alternating. The rows "to completion" also give the CPU time
of the process, which depends less on what else the machine does, and its peak memory. The last of them is without the
garbage collector settings of `bc_sam.cli.app`, which collects less often and skips the collection at exit. With
``--files FOLDER``, naming all files of a folder is timed too.
"""

import argparse
import os
import statistics
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
    parser.add_argument("--backend", nargs="+", choices=("torch", "onnx"), default=["torch"])
    parser.add_argument("--files", help="folder of images to name as well")
    options = parser.parse_args()
    variants = {"python -c pass": partial(start, [sys.executable, "-c", NOTHING])}
    variants["import bc_sam"] = partial(start, [sys.executable, "-c", IMPORT])
    usage: dict[str, list[tuple[float, float]]] = {}

    def add(name: str, code: str, arguments: list[str]) -> None:
        usage[name] = []
        variants[name] = partial(finish, [sys.executable, "-c", code, *arguments], usage[name])

    for backend in options.backend:
        model = ["--model", options.model, "--backend", backend]
        arguments = ["predict", options.cell, *model]
        variants[f"{backend}: first label"] = partial(start, [sys.executable, "-c", COMMAND, *arguments])
        add(f"{backend}: to completion", COMMAND, arguments)
        add(f"{backend}: to completion, default garbage collector", WITHOUT, arguments)
        if options.files:
            add(f"{backend}: {options.files}", COMMAND, ["predict", options.files, *model])
    seconds = alternate(variants, options.rounds)
    print(machine())
    rows = []
    for name, values in seconds.items():
        cpu, peak = map(statistics.median, zip(*usage[name], strict=True)) if name in usage else (0, 0)
        rows.append((name, spread(values, 1, 2), *((f"{cpu:.2f}", f"{peak:.0f}") if peak else ("", ""))))
    print_table(("command", "seconds, median (range)", "CPU seconds", "peak memory, MB"), rows)


def start(command: list[str]) -> None:
    """Runs a command until it prints its first line, or until it exits if it prints nothing."""
    unbuffered = os.environ | {"PYTHONUNBUFFERED": "1"}  # as in a terminal, which is line-buffered
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=unbuffered) as process:
        if process.stdout and process.stdout.readline():
            process.kill()
        elif process.wait():
            raise SystemExit(f"{command} failed with exit status {process.returncode}.")


def finish(command: list[str], usage: list[tuple[float, float]]) -> None:
    """Runs a command to its end, and appends its CPU time, seconds, and its peak memory, MB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed with exit status {process.returncode}.")
    usage.append((used.ru_utime + used.ru_stime, used.ru_maxrss / 1000))


if __name__ == "__main__":
    main()
