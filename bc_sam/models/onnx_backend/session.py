"""Sessions of ONNX Runtime, with limits of memory and time: the graph may be anybody's."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from bc_sam.utils.resources import total_memory

# A batch takes at most this part of the machine's memory, or so many bytes where that is unknown.
_MOST_MEMORY, _UNKNOWN_MEMORY = 1 / 4, 2**31

# A batch takes at most so many seconds. Those of SAM ViT-B at 224 px take a few.
_MOST_SECONDS = 600

# What the runtime says if the memory is used up.
_OUT_OF_ARENA = "Available memory of"

# The arena of the sessions that are opened is one variable of the process.
_arena_lock = threading.Lock()


def most_memory() -> int:
    """Returns the memory that the graphs of a model may take together for a batch, bytes.

    Weights do not count. They take what their files have, which is limited before.
    """
    total = total_memory()
    return _UNKNOWN_MEMORY if total is None else int(total * _MOST_MEMORY)


class LimitError(Exception):
    """A graph needs more memory or time than it may take."""


@contextmanager
def shared_memory() -> Iterator[None]:
    """Gives the sessions that are opened in the block a memory of their own, of `most_memory`, which goes with them.

    If the graphs need more, computing them fails.
    """
    import onnxruntime as ort

    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    # Blocks are as large as what is asked for; by default each is twice the one before.
    arena = ort.OrtArenaCfg({"max_mem": most_memory(), "arena_extend_strategy": 1})
    with _arena_lock:
        ort.create_and_register_allocator(info, arena)  # in the place of the one before, which its sessions keep
        try:
            yield
        finally:  # or the process would keep the memory after the last of its sessions
            ort.create_and_register_allocator(info, ort.OrtArenaCfg(0, -1, -1, -1))


class Session:
    """An opened graph. Open it within `shared_memory`.

    Args:
        content: The file, which `bc_sam.models.onnx_backend.guard` has let through.
        n_threads: Number of threads; 0 for one on each core.

    Attributes:
        metadata: The metadata of the file.

    Raises:
        Exception: Types of the runtime, which have no common base.
    """

    def __init__(self, content: bytes, n_threads: int) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = n_threads
        # Threads that wait for each other in a loop are faster alone, but not beside decoding or busy neighbours,
        # which need their time: docs/performance.md, benchmarks/busy.py.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Which keep a block of memory for each size of a batch: 80 MB for bc-sam-tiny.
        options.enable_mem_pattern = False
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # done by the export
        options.log_severity_level = 4  # what fails is raised, too
        self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, outputs: Sequence[str], inputs: Mapping[str, np.ndarray]) -> list[Any]:
        """Computes some outputs, which may be anything, and no more.

        Raises:
            LimitError: If it needs more memory or time.
            Exception: Types of the runtime, which have no common base.
        """
        from onnxruntime import RunOptions

        options = RunOptions()
        options.only_execute_path_to_fetches = True
        timer = threading.Timer(_MOST_SECONDS, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            return self._session.run(list(outputs), dict(inputs), options)
        except Exception as error:
            if options.terminate:
                raise LimitError(f"a batch takes more than {_MOST_SECONDS} seconds") from error
            if _OUT_OF_ARENA in str(error):
                raise LimitError(f"a batch needs more than {most_memory() / 1e9:.1f} GB, the limit here") from error
            raise
        finally:
            timer.cancel()
