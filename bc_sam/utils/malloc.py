"""Says when freed memory goes back to the system: not after each batch, which would ask for it again, but at rests."""

import ctypes
import os

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4

#: The most that glibc takes for the size from which a block is mapped on its own.
_LARGEST_THRESHOLD = 32 * 2**20

#: Freed memory that the process keeps at most: what the interface can say.
_KEPT = 2**31 - 1


def reuse_freed_memory(*, large_blocks: bool = False) -> bool:
    """Tells the C library to keep freed memory, up to 2 GiB, for the process's next request.

    Left alone, glibc gives large blocks back as soon as they are freed, and the system clears every page anew for
    the next tensor: on two cores that is a third of the time of SAM ViT-B in bf16, and half of stage 2. Who has set
    ``MALLOC_TRIM_THRESHOLD_`` has decided already. Where the C library is another one, nothing happens.

    Args:
        large_blocks: Keep also blocks of over 32 MiB, as training has them; its peak may rise by a third.

    Returns:
        Whether it was done.
    """
    if "MALLOC_TRIM_THRESHOLD_" in os.environ:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS and musl have none; Windows has no library without a name
        return False
    done = [mallopt(_M_TRIM_THRESHOLD, _KEPT), mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)]
    if large_blocks:
        done.append(mallopt(_M_MMAP_MAX, 0))
    return all(done)


def return_freed_memory() -> bool:
    """Gives all freed memory back to the system, also what lies in gaps between blocks in use.

    Blocks of many sizes leave gaps that the next ones do not fit into, so that a long job grows little by little. To
    be called now and then, not after each batch: what is given back must be cleared again.

    Returns:
        Whether it was done; other C libraries than glibc have no such call.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return False
    trim(0)
    return True
