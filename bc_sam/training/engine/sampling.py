"""Composition of the batches of an epoch, a function of the seed and the epoch only."""

from collections.abc import Callable, Iterator

import numpy as np
from accelerate import Accelerator
from torch.utils.data import Sampler

from bc_sam.errors import ConfigError

#: Draws the order of an epoch, (n,) int64.
Order = Callable[[np.random.Generator], np.ndarray]


class EpochBatches(Sampler[list[int]]):
    """Batches that depend only on the seed and the epoch, so that training can resume at any batch.

    The last incomplete batch is dropped. Accelerate splits each batch among the processes.

    Attributes:
        epoch: The epoch of the next iteration, from 0.
        start: Number of batches to skip in it.
        batch_size: Cells in a batch, over all processes.

    Args:
        order: Draws the order of an epoch.
        n: Cells in an epoch.
        batch_size: Cells in a batch, over all processes; reduced if there are fewer cells.
        n_processes: Processes that share each batch.
        seed: Seed of the order.

    Raises:
        ConfigError: If the batch size is not divisible by the number of processes.

    Example:
        >>> batches = EpochBatches(shuffled(5), 5, batch_size=2, seed=0)
        >>> [len(batch) for batch in batches]
        [2, 2]
    """

    drop_last = True  # read by Accelerate

    def __init__(self, order: Order, n: int, batch_size: int, *, n_processes: int = 1, seed: int = 1234) -> None:
        self.order = order
        self.n = n
        self.batch_size = min(batch_size, n - n % n_processes)
        self.seed = seed
        self.epoch = 0
        self.start = 0
        if self.batch_size == 0 or self.batch_size % n_processes:
            raise ConfigError(
                f"A batch of {self.batch_size} of {n} cells cannot be split equally among {n_processes} processes. "
                "Choose a batch_size that is a multiple of the number of processes."
            )

    def __len__(self) -> int:
        return self.n // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order(np.random.default_rng([self.seed, self.epoch]))
        for step in range(self.start, len(self)):
            yield order[step * self.batch_size : (step + 1) * self.batch_size].tolist()


def shuffled(n: int) -> Order:
    """Returns an order that contains every cell once."""
    return lambda rng: rng.permutation(n)


def balanced(domains: np.ndarray) -> Order:
    """Returns an order that interleaves the domains, so that every batch contains them in equal parts.

    An epoch has the length of the data: large domains are subsampled, small ones repeated and reshuffled.

    Args:
        domains: (n,) integers.
    """
    members = [np.flatnonzero(domains == domain) for domain in np.unique(domains)]
    each = -(-len(domains) // len(members))

    def order(rng: np.random.Generator) -> np.ndarray:
        orders = [
            np.concatenate([rng.permutation(own) for _ in range(-(-each // len(own)))])[:each] for own in members
        ]
        return np.stack(orders, axis=1).ravel()[: len(domains)]

    return order


def tempered(domains: np.ndarray, temperature: float) -> Order:
    """Returns an order that oversamples small domains. An epoch has the length of the data.

    Args:
        domains: (n,) integers.
        temperature: 0..1; 0 samples domains in proportion to their size, 1 samples them uniformly.
    """
    _, inverse, counts = np.unique(domains, return_inverse=True, return_counts=True)
    members = [np.flatnonzero(inverse == domain) for domain in range(len(counts))]
    shares = counts ** (1 - temperature) / (counts ** (1 - temperature)).sum()
    each = np.round(shares * len(domains)).astype(int)

    def order(rng: np.random.Generator) -> np.ndarray:
        orders = [
            np.concatenate([rng.permutation(own) for _ in range(-(-n // len(own)))])[:n]
            for own, n in zip(members, each, strict=True)
        ]
        return rng.permutation(np.concatenate(orders))

    return order


def require_divisible(batch_size: int, accelerator: Accelerator, name: str) -> None:
    """Checks that a batch can be accumulated in equal parts, each split equally among the processes.

    Args:
        batch_size: Cells in a batch.
        accelerator: The accumulation steps and processes.
        name: Name of the setting, for the error message.

    Raises:
        ConfigError: If the batch size is not divisible.
    """
    steps, n_processes = accelerator.gradient_accumulation_steps, accelerator.num_processes
    if batch_size % steps:
        raise ConfigError(
            f"{name}: a batch of {batch_size} cells cannot be accumulated in {steps} equal parts. Choose a multiple."
        )
    if batch_size // steps % n_processes:
        raise ConfigError(
            f"{name}: {batch_size // steps} cells at a time cannot be split equally among {n_processes} processes. "
            "Choose a multiple."
        )


def stage_batches(order: Order, n: int, batch_size: int, accelerator: Accelerator, seed: int) -> EpochBatches:
    """Returns the batches of a training, divided by the number of gradient accumulation steps.

    Raises:
        ConfigError: If the batch size is not divisible.
    """
    steps = accelerator.gradient_accumulation_steps
    require_divisible(batch_size, accelerator, "batch_size")
    return EpochBatches(order, n, batch_size // steps, n_processes=accelerator.num_processes, seed=seed)
