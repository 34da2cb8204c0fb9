"""A connection to Ray, started on this machine or running on others, and its errors in one sentence."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bc_sam.errors import BCSamError
from bc_sam.utils.extras import extras_explained

# Seconds in which the address of a cluster has to answer.
_TIMEOUT = 10

_START_ONE = "Start one with 'ray start --head', or correct --ray-address."

_WHEN_BUSY = (
    "Ray gives up after 30 seconds: if the machine is busy, run the command again later, or start Ray beforehand with "
    "'ray start --head' and add --ray-address auto. Its logs are in /tmp/ray."
)


@dataclass(frozen=True)
class Cluster:
    """A connection to Ray.

    Attributes:
        dashboard: Address of the dashboard; empty if there is none.
        ours: Whether the connection was made here, and is to be closed here.
        started: Whether Ray was started here, so that this machine is all of it.
    """

    dashboard: str
    ours: bool
    started: bool = False

    def close(self) -> None:
        """Closes the connection, which ends a Ray that was started by it."""
        if self.ours:
            import ray

            ray.shutdown()


def require_cluster(address: str | None = None) -> None:
    """Checks that Ray is installed, and that something answers at an address, as Ray itself tries for minutes.

    Args:
        address: See `connect`.

    Raises:
        MissingPackageError: If Ray is not installed.
        BCSamError: If nothing answers.
    """
    with extras_explained():
        import ray.data  # noqa: F401
    host, separator, port = (address or os.environ.get("RAY_ADDRESS", "")).removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():  # "auto" and "local" are Ray's to resolve
        return
    try:
        socket.create_connection((host, int(port)), timeout=_TIMEOUT).close()
    except OSError as error:
        raise BCSamError(f"There is no Ray cluster at {host}:{port}: {error}. {_START_ONE}") from error


def connect(address: str | None = None) -> Cluster:
    """Connects to a cluster, or starts Ray on this machine.

    A connection that the process already has is used as it is.

    Args:
        address: ``"auto"``, ``"HOST:PORT"`` or ``"ray://HOST:PORT"``; by default that of the environment variable
            ``RAY_ADDRESS``, or else Ray is started.

    Raises:
        MissingPackageError: If Ray is not installed.
        BCSamError: If there is no cluster at the address.
    """
    require_cluster(address)
    import ray

    for name in ("ray", "ray.data"):  # which warn that there are no progress bars, and of how they talk to each other
        logging.getLogger(name).setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False  # ours counts cells
    if ray.is_initialized():
        return Cluster(_dashboard(), ours=False)
    address = address or os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster started here reports nothing to Ray's makers
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # if a busy machine starts Ray too slowly, it raises this very class
        where, advice = (f"at {address}", _START_ONE) if address else ("on this machine", _WHEN_BUSY)
        raise BCSamError(f"There is no Ray cluster {where}: {_first_line(error)}. {advice}") from error
    return Cluster(_dashboard(), ours=True, started=not address)


@contextmanager
def in_one_sentence() -> Iterator[None]:
    """Turns an error of a task or actor into one that says what happened there, without the traceback.

    Raises:
        BCSamError: If the block fails in Ray.
    """
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        raise BCSamError(_innermost(error)) from error


def _dashboard() -> str:
    """Returns the address of the dashboard, which only the package ray[default] has."""
    import ray

    url = ray._private.worker.get_dashboard_url()
    return f"http://{url}" if url else ""


def _innermost(error: BaseException) -> str:
    """Returns the message of the error that a task raised, without what Ray wraps around it."""
    cause = getattr(error, "cause", None) or error.__cause__
    while cause is not None:
        error, cause = cause, getattr(cause, "cause", None) or cause.__cause__
    if isinstance(error, BCSamError):
        return str(error)
    return f"A worker of Ray failed. {type(error).__name__}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
