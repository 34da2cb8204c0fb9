"""Kills a process, or fills the disk, at each file operation of an action in turn.

An audit hook sees every open for writing, rename, new folder and removal that Python does in a folder, whoever calls
it. What native code writes by itself is covered by a limit on the size of files, which acts like a full disk.
"""

import errno
import os
import resource
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
_KILLED = 9


class _Watch:
    """The folder that is watched, and what is called with the number and event of each of its operations."""

    folder = None
    seen = 0
    react = None


def _hook(event, args):
    if _Watch.folder is None or not _changes(event, args):
        return
    number, _Watch.seen = _Watch.seen, _Watch.seen + 1
    folder, _Watch.folder = _Watch.folder, None  # what the reaction does is not watched
    try:
        _Watch.react(number, event)
    finally:
        _Watch.folder = folder


def _changes(event, args):
    if event == "open":
        path, _, flags = args
        return isinstance(path, str) and path.startswith(_Watch.folder) and flags & _WRITES
    # Trees are removed by names relative to an open folder.
    return event in _CHANGES and (not os.path.isabs(args[0]) or os.fspath(args[0]).startswith(_Watch.folder))


sys.addaudithook(_hook)  # there is no way to remove it


@contextmanager
def observed(folder, react):
    """Calls `react(number, event)` before each operation in a folder, numbered from 0."""
    _Watch.folder, _Watch.seen, _Watch.react = str(folder), 0, react
    try:
        yield _Watch
    finally:
        _Watch.folder = None


def watched(folder, at=-1, fail=None):
    """Calls `fail` at one operation in a folder, numbered from 0."""
    return observed(folder, lambda number, event: fail() if number == at else None)


def fill_disk():
    raise OSError(errno.ENOSPC, "No space left on device")


@contextmanager
def file_size_limit(n_bytes):
    """Lets every write beyond a size fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def count_operations(action, folder):
    """Runs an action; returns the number of its operations in a folder."""
    with watched(folder) as watch:
        action()
    return watch.seen


def killed_at(action, folder, number):
    """Runs an action in a process that is killed at an operation; returns whether it got that far."""
    child = os.fork()
    if child == 0:
        try:
            with watched(folder, number, lambda: os._exit(_KILLED)):
                action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, _KILLED)
    return code == _KILLED


def contents(folder):
    """The content of each file in a folder by its relative path, and ``None`` for each folder; without lock files."""
    paths = [path for path in Path(folder).rglob("*") if path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}
