"""Runs commands and Python as an installation without extras does; `journeys/test_slim.py` starts it in a process.

Given a JSON object with ``missing``, the packages to do without, ``commands`` and ``code``, it prints one with the
exit status, standard output and standard error of each command, and the errors of each piece of code.
"""

import contextlib
import io
import json
import sys


class FinderWithout:
    """A finder of modules that finds all that another one does, except for some packages."""

    def __init__(self, packages, finder):
        self.packages, self.finder = packages, finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.packages:
            return None
        return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)


def run_command(line):
    """Runs one command line of bc-sam."""
    from bc_sam.cli import main

    sys.argv[1:] = line.split()
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
    return status, out.getvalue(), err.getvalue()


def run_code(code):
    """Runs Python code; returns the type and text of its error, if any."""
    try:
        exec(code, {})
    except Exception as error:
        return type(error).__name__, str(error)
    return None


def run_all(task):
    """Runs all commands and code of a task, without some packages."""
    sys.meta_path[:] = [FinderWithout(task["missing"], finder) for finder in sys.meta_path]
    commands = {line: run_command(line) for line in task["commands"]}
    errors = {code: run_code(code) for code in task["code"]}
    return {"commands": commands, "errors": errors}


if __name__ == "__main__":
    result = run_all(json.loads(sys.stdin.read()))
    sys.stdout.write(json.dumps(result))
