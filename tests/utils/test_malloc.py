import subprocess
import sys

import pytest

GLIBC = "import ctypes; ctypes.CDLL(None).mallopt"

# Frees a block of so many MiB on top of the heap, and says by how many MiB the process then shrinks.
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


# Frees every second block of many, and says by how many MiB the process shrinks then, and after it was told to.
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
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment or None, check=False
    )
    return done.stdout.split() if done.returncode == 0 else None


pytestmark = pytest.mark.skipif(sys.platform != "linux" or run(GLIBC) is None, reason="The C library is not glibc.")


@pytest.mark.parametrize("mib", ["8", "100"])
def test_freed_memory_stays_with_the_process(mib):
    assert run(SHRINKS, mib, "keep") == ["True", "0"]


def test_what_lies_in_gaps_can_be_given_back():
    by_itself, done, shrunk = run(GAPS)
    assert (by_itself, done) == ("0", "True")
    assert int(shrunk) > 40


def test_it_would_go_back_otherwise():
    said, shrunk = run(SHRINKS, "100", "leave")
    assert said == "None"
    assert int(shrunk) > 90


def test_what_the_user_has_set_stays():
    said, shrunk = run(SHRINKS, "100", "keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert said == "False"
    assert int(shrunk) > 90
