import os
import subprocess
import sys

import pytest

GLIBC = "import ctypes; ctypes.CDLL(None).mallopt"

# Frees a block of the given MiB at the top of the heap, and prints by how many MiB the process shrinks.
SHRINKS = """
import ctypes, sys
from bc_sam.utils.malloc import reuse_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

print(reuse_freed_memory(large_blocks=True) if sys.argv[2] == "keep" else None)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
size = int(sys.argv[1]) * 2**20
block = ctypes.c_void_p(libc.malloc(size))
ctypes.memset(block, 1, size)
before = resident()
libc.free(block)
print((before - resident()) // 2**20)
"""


# Frees every second block, and prints by how many MiB the process shrinks before and after `return_freed_memory`.
GAPS = """
import ctypes
from bc_sam.utils.malloc import return_freed_memory, reuse_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

reuse_freed_memory(large_blocks=True)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
blocks = [ctypes.c_void_p(libc.malloc(2**20)) for _ in range(100)]
for block in blocks:
    ctypes.memset(block, 1, 2**20)
before = resident()
for block in blocks[::2]:
    libc.free(block)
print((before - resident()) // 2**20)
print(return_freed_memory(), (before - resident()) // 2**20)
"""


def run(code, *arguments, **environment):
    finished = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment or None, check=False
    )
    return finished.stdout.split() if finished.returncode == 0 else None


pytestmark = pytest.mark.skipif(sys.platform != "linux" or run(GLIBC) is None, reason="The C library is not glibc.")


@pytest.mark.parametrize("mib", ["8", "100"])
def test_freed_memory_is_kept(mib):
    assert run(SHRINKS, mib, "keep") == ["True", "0"]


def test_freed_gaps_are_returned_on_request():
    before, returned, shrunk = run(GAPS)
    assert (before, returned) == ("0", "True")
    assert int(shrunk) > 40


def test_freed_memory_is_returned_by_default():
    applied, shrunk = run(SHRINKS, "100", "leave")
    assert applied == "None"
    assert int(shrunk) > 90


def test_the_users_threshold_takes_precedence():
    applied, shrunk = run(SHRINKS, "100", "keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert applied == "False"
    assert int(shrunk) > 90


# Allocates in eight threads at once, and prints the number of heaps.
HEAPS = """
import ctypes, os, tempfile, threading
from bc_sam.utils.malloc import share_heaps

share_heaps()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(8)

def allocate():
    together.wait()
    libc.malloc(1000)

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "info.xml")
    file = ctypes.c_void_p(libc.fopen(path.encode(), b"w"))
    libc.malloc_info(0, file)
    libc.fclose(file)
    print(open(path).read().count("<heap nr="))
"""


def test_threads_share_two_heaps_unless_the_user_has_set_a_number():
    environments = os.environ | {"MALLOC_ARENA_MAX": "5"}, {k: v for k, v in os.environ.items() if "MALLOC" not in k}
    several, few = (
        int(subprocess.run([sys.executable, "-c", HEAPS], env=env, capture_output=True, text=True, check=True).stdout)
        for env in environments
    )
    assert few <= 2 < several
