"""How every benchmark here measures: ways in turn, several rounds, medians; and prints one Markdown table."""

import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version

import torch
from tqdm import tqdm


def alternate(
    ways: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Takes the seconds of each way, one after the other in every round, so that a drift of the machine hits all.

    Args:
        ways: What to time.
        rounds: Rounds that count.
        warm_up: Whether to run each once before, not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in tqdm(range(rounds + warm_up), desc="Rounds", disable=not sys.stderr.isatty()):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values: Sequence[float], unit: float = 1.0, digits: int = 1) -> str:
    """Median and range, in a unit."""
    scaled = [value / unit for value in values]
    return f"{statistics.median(scaled):.{digits}f} ({min(scaled):.{digits}f} to {max(scaled):.{digits}f})"


def ratio(values: Sequence[float], others: Sequence[float], digits: int = 2) -> str:
    """Median of the ratios, round by round."""
    return f"{statistics.median(a / b for a, b in zip(values, others, strict=True)):.{digits}f}"


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a Markdown table; the first column is text, the others are numbers."""
    print("\n| " + " | ".join(header) + " |")
    print("|:--|" + "--:|" * (len(header) - 1))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


def machine() -> str:
    """Says what the figures were measured on."""
    if torch.cuda.is_available():
        computer = torch.cuda.get_device_name()
    else:
        name = torch.cpu.get_capabilities().get("cpu_name") or _processor()
        computer = f"{name}, {torch.get_num_threads()} threads"
    libraries = ", ".join(f"{library} {version(library)}" for library in ("torch", "transformers"))
    return f"{computer}; Python {platform.python_version()}, {libraries}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
