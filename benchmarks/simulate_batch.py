"""How long do millions of cells take on a cluster, what limits, and how large should a block be?

``python benchmarks/simulate_batch.py [--cell-ms 66] ...`` simulates the pool of ``--engine ray`` from the costs that
``batch_costs.py`` measures: each worker computes one block after the other; one driver hands blocks out and writes
their results, one at a time. Workers differ in speed (log-normal, by machine), single blocks take longer (stragglers),
and workers fail (exponential, with a mean time) and lose the block they had. Nothing here is a measurement of a
cluster.
"""

import argparse
import heapq
import math
import random
from dataclasses import dataclass

DAY = 86_400


@dataclass(frozen=True)
class Costs:
    """What is assumed, in seconds.

    Attributes:
        cell: Of a worker, for a cell.
        start: Of a worker, until it computes.
        block: Of a worker, for a block beside its cells: opening, and the end of its pipeline.
        driver: Of the driver, for a block: to schedule it, receive and write its results.
        restart: Until a lost worker is replaced, beside `start`.
        failures: Mean time between failures of a worker.
        machines: Standard deviation of the logarithm of workers' speeds.
        stragglers: Share of blocks that take three times as long.
    """

    cell: float
    start: float
    block: float
    driver: float
    restart: float = 60
    failures: float = 7 * DAY
    machines: float = 0.1
    stragglers: float = 0.01


@dataclass(frozen=True)
class Outcome:
    """What came of a simulated job.

    Attributes:
        seconds: Its duration.
        efficiency: The duration with all workers busy with cells from beginning to end, over this one.
        driver_busy: Share of the duration in which the driver worked.
        lost: Share of the workers' time that failures cost.
        tail: Seconds between the first worker without work and the end.
    """

    seconds: float
    efficiency: float
    driver_busy: float
    lost: float
    tail: float


def simulate(n_cells: int, n_workers: int, block_size: int, costs: Costs, seed: int = 0) -> Outcome:
    """Simulates a job.

    Args:
        n_cells: Number of cells.
        n_workers: Number of workers.
        block_size: Cells of a block.
        costs: What is assumed.
        seed: Seed of speeds, stragglers and failures.

    Example:
        >>> steady = Costs(cell=0.1, start=0, block=0, driver=0, failures=math.inf, machines=0, stragglers=0)
        >>> simulate(1000, 10, 10, steady).seconds
        10.0
    """
    draw = random.Random(seed)
    speeds = [math.exp(draw.gauss(0, costs.machines)) for _ in range(n_workers)]
    waiting = [(costs.start, worker) for worker in range(n_workers)]
    heapq.heapify(waiting)
    blocks = -(-n_cells // block_size)
    driver_free = driver_busy = lost = 0.0
    end = 0.0
    while blocks:
        now, worker = heapq.heappop(waiting)
        handed_out = max(now, driver_free)
        seconds = (costs.block + block_size * costs.cell) / speeds[worker]
        seconds *= 3 if draw.random() < costs.stragglers else 1
        failure = draw.expovariate(1 / costs.failures) if costs.failures < math.inf else math.inf
        if failure < seconds:
            lost += failure + costs.restart + costs.start
            heapq.heappush(waiting, (handed_out + failure + costs.restart + costs.start, worker))
            continue
        blocks -= 1
        driver_free = handed_out + costs.driver
        driver_busy += costs.driver
        done = handed_out + seconds
        end = max(end, done + costs.driver, driver_free)
        heapq.heappush(waiting, (done, worker))
    first_idle = waiting[0][0]
    ideal = n_cells * costs.cell / sum(speeds)
    return Outcome(end, ideal / end, driver_busy / end, lost / (end * n_workers), end - first_idle)


def main() -> None:
    """Prints a table of outcomes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell-ms", type=float, default=66, help="CPU ms of a cell on one core.")
    parser.add_argument("--start-s", type=float, default=18, help="Seconds until a worker computes.")
    parser.add_argument("--block-s", type=float, default=1, help="Seconds of a worker for a block beside its cells.")
    parser.add_argument("--driver-ms", type=float, default=8, help="ms of the driver for a block.")
    parser.add_argument("--bytes", type=float, default=378, help="Bytes of results of a cell.")
    options = parser.parse_args()
    costs = Costs(options.cell_ms / 1000, options.start_s, options.block_s, options.driver_ms / 1000)
    print(
        "| cells | workers | cells a block | duration | efficiency | driver busy | lost to failures | tail | results |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for n_cells in (10**7, 10**9):
        for n_workers in (64, 1000):
            for block_size in (100, 1000, 10_000):
                outcome = simulate(n_cells, n_workers, block_size, costs)
                print(
                    f"| {n_cells:,} | {n_workers:,} | {block_size:,} | {_duration(outcome.seconds)} | "
                    f"{outcome.efficiency:.0%} | {outcome.driver_busy:.1%} | {outcome.lost:.2%} | "
                    f"{outcome.tail / 60:.0f} min | {n_cells * options.bytes / 1e9:.0f} GB |"
                )


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds < 2 * DAY else f"{seconds / DAY:.1f} d"


if __name__ == "__main__":
    main()
