"""Prints the oldest version that `pyproject.toml` allows of each library, as constraints for pip; see the Makefile."""

import re
import tomllib
from pathlib import Path

_BOUND = re.compile(r"([\w-]+)>=([\d.]+)")

# What only runs or checks the code, such as pytest, need not be old.
_EXTRAS = ("torch", "xgboost", "train", "space", "formats", "slides", "export")


def oldest_versions(pyproject):
    """The lower bound of each library that the package imports."""
    project = tomllib.loads(pyproject)["project"]
    requirements = [*project["dependencies"]]
    for extra in _EXTRAS:
        requirements += project["optional-dependencies"][extra]
    return dict(match.groups() for match in map(_BOUND.fullmatch, requirements) if match)


if __name__ == "__main__":
    bounds = oldest_versions((Path(__file__).parents[1] / "pyproject.toml").read_text())
    print("\n".join(f"{name}=={version}" for name, version in bounds.items()))
