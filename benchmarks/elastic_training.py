"""Does training over two nodes survive the loss of one, and end with the same weights?

``python benchmarks/elastic_training.py [--out FOLDER]``: two agents of ``torchrun`` on this machine, each with one
process, stand for two nodes; they find each other at a port of 127.0.0.1 and share the run folder. First they train a
small run undisturbed. Then one agent and its process are killed with SIGKILL after a checkpoint, and the same agent is
started again. The weights of both models are compared.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

_SETTINGS = (
    "image_size=96",
    "folds=3",
    "segmentation.epochs=6",
    "segmentation.warmup_epochs=0",
    "autoencoder.epochs=3",
    "autoencoder.batch_size=16",
    'classifiers.names=["logistic"]',
    "classifiers.default=logistic",
)
_DATA = ("--data", "north=rendered:munich:4", "--data", "south=rendered:barcelona:4")
_MOST_SECONDS = 1800

# With the shared store that is the default of torch 2.13, the agent that stays does not tell its address again, for
# which the one that rejoins waits a minute and fails: pytorch/pytorch#135712.
_ENVIRONMENT = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}


def main() -> None:
    """Runs both trainings and says how their weights differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="Where the runs and logs go; by default a temporary folder.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bc_sam_elastic_") as temporary:
        out = options.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        _wait(_start_nodes(out / "unbroken"))
        print(f"unbroken: {time.monotonic() - started:.0f} s", flush=True)
        started = time.monotonic()
        _train_with_a_loss(out / "broken")
        print(f"with a lost and rejoined node: {time.monotonic() - started:.0f} s", flush=True)
        largest = _largest_difference(out / "unbroken" / "model", out / "broken" / "model")
        print(f"largest difference of a weight: {largest:g}")


def _start_nodes(run: Path) -> list[subprocess.Popen[bytes]]:
    port = _free_port()
    return [_start_node(run, number, port) for number in (0, 1)]


def _start_node(run: Path, number: int, port: int) -> subprocess.Popen[bytes]:
    """Starts the agent of a node in a group of processes of its own; the first one keeps the store of the others."""
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", run.name]
    if number == 1:
        rendezvous += ["--rdzv-conf", "is_host=0"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    settings = [option for setting in _SETTINGS for option in ("--set", setting)]
    train = ["train", "--base", "tiny", "--out", str(run), *_DATA, *settings]
    return subprocess.Popen(
        [*torchrun, *rendezvous, "--max-restarts", "3", "-m", "bc_sam", *train],
        env=os.environ | _ENVIRONMENT,
        stdout=run.with_name(f"{run.name}-{number}.log").open("ab"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _train_with_a_loss(run: Path) -> None:
    port = _free_port()
    nodes = [_start_node(run, number, port) for number in (0, 1)]
    _wait_for_checkpoint(run, nodes)
    _kill(nodes[1])
    print(f"killed after {sorted(path.name for path in run.glob('work/**/step-*'))}", flush=True)
    nodes[1] = _start_node(run, 1, port)
    _wait(nodes)


def _wait_for_checkpoint(run: Path, nodes: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + _MOST_SECONDS
    while not any(run.glob("work/**/step-*")):
        if time.monotonic() > end or any(node.poll() is not None for node in nodes):
            sys.exit("No checkpoint was written; see the logs.")
        time.sleep(0.05)


def _kill(node: subprocess.Popen[bytes]) -> None:
    """Kills an agent and its process at once, as a node that loses its power; the process has a session of its own."""
    import psutil

    victims = [*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)]
    for victim in victims:
        victim.send_signal(signal.SIGKILL)
    node.wait()


def _wait(nodes: list[subprocess.Popen[bytes]]) -> None:
    statuses = [node.wait(_MOST_SECONDS) for node in nodes]
    if any(statuses):
        sys.exit(f"The nodes ended with {statuses}; see the logs.")


def _largest_difference(one: Path, other: Path) -> float:
    """Returns the largest absolute difference of a number in the weights of two models."""
    files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
    assert files
    largest = 0.0
    for name in files:
        ours, theirs = load_file(one / name), load_file(other / name)
        assert ours.keys() == theirs.keys(), name
        for key, tensor in ours.items():
            if tensor.numel():
                largest = max(largest, float((tensor.to(torch.float64) - theirs[key].to(torch.float64)).abs().max()))
    return largest


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
