"""Shared by the benchmarks: interleaved timing over several rounds, medians, and Markdown tables."""

import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version

import torch
from tqdm import tqdm


def alternate(
    variants: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm_up: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Returns the seconds of each variant, interleaved in every round so that machine drift affects all equally.

    Args:
        variants: The functions to time, by name.
        rounds: Number of timed rounds.
        warm_up: Whether to run an untimed round first.
        clock: What is measured: the time, or `time.process_time` on a machine that does much else.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for index in tqdm(range(rounds + warm_up), desc="Rounds", disable=not sys.stderr.isatty()):
        for name, variant in variants.items():
            start = clock()
            variant()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if index >= warm_up:
                seconds[name].append(clock() - start)
    return seconds


def spread(values: Sequence[float], unit: float = 1.0, digits: int = 1) -> str:
    """Returns median and range as text, in multiples of a unit."""
    scaled = [value / unit for value in values]
    return f"{statistics.median(scaled):.{digits}f} ({min(scaled):.{digits}f} to {max(scaled):.{digits}f})"


def ratio(values: Sequence[float], others: Sequence[float], digits: int = 2) -> str:
    """Returns the median of the per-round ratios as text."""
    return f"{statistics.median(a / b for a, b in zip(values, others, strict=True)):.{digits}f}"


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a Markdown table with a text column followed by numeric columns."""
    print("\n| " + " | ".join(header) + " |")
    print("|:--|" + "--:|" * (len(header) - 1))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


def machine() -> str:
    """Returns a description of the device and the library versions."""
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        name = torch.cpu.get_capabilities().get("cpu_name") or _cpu_name()
        device = f"{name}, {torch.get_num_threads()} threads"
    libraries = ", ".join(f"{library} {version(library)}" for library in ("torch", "transformers"))
    return f"{device}; Python {platform.python_version()}, {libraries}"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
