"""Former spellings of commands, rewritten to the current ones before the command line is parsed."""

import sys
from collections.abc import Sequence
from itertools import islice

from bc_sam.errors import ConfigError

# Commands of which `--labels` was spelled `--among`.
_WITH_LABELS = (["evaluate"], ["predict"], ["save"])

# Former options of `train` that only `adapt` has.
_OF_ADAPT = ("--among", "--labels", "--labels-per-class", "--learn-from")


def rewrite_former_spellings(arguments: Sequence[str]) -> list[str]:
    """Rewrites a former spelling of a command, and prints a line that names the current one.

    Args:
        arguments: The command line after the name of the program.

    Returns:
        The same command line in its current spelling.

    Raises:
        ConfigError: If `train` is given options of `adapt` without a model to adapt, or an option is given in both
            spellings.

    Example:
        >>> rewrite_former_spellings(["train", "--from", "runs/mine", "--data", "ours=cells", "--out", "runs/ours"])
        ['adapt', 'runs/mine', '--data', 'ours=cells', '--out', 'runs/ours']
        >>> rewrite_former_spellings(["train", "--out", "runs/mine"])
        ['train', '--out', 'runs/mine']
    """
    command, options = list(arguments[:1]), list(arguments[1:])
    if command == ["train"] and "--resume" in options:
        return _resume(options)
    if command == ["train"] and _names(options, "--from"):
        return _adapt(options)
    if command == ["train"] and any(_names(options, name) for name in _OF_ADAPT):
        raise ConfigError(
            f"{', '.join(_OF_ADAPT[1:-1])} and {_OF_ADAPT[-1]} adapt a trained model: bc-sam adapt MODEL."
        )
    if command == ["demo"] and "--serve" in options:
        return _serve(options)
    if command in _WITH_LABELS:
        return [*command, *_rename_among(options)]
    return [*command, *options]


def _resume(options: list[str]) -> list[str]:
    _announce("train --resume --out RUN", "resume RUN")
    run, _ = _take(options, "--out")  # a resumed run keeps its own options
    return ["resume", *run]


def _adapt(options: list[str]) -> list[str]:
    _announce("train --from MODEL", "adapt MODEL")
    model, options = _take(options, "--from")
    return ["adapt", *model, *_rename_among(options)]


def _rename_among(options: list[str]) -> list[str]:
    if not _names(options, "--among"):
        return options
    if _names(options, "--labels"):
        raise ConfigError("--among is the former spelling of --labels. Give --labels alone.")
    _announce("--among", "--labels")
    labels, options = _take(options, "--among")
    return [*options, "--labels", *labels]


def _serve(options: list[str]) -> list[str]:
    _announce("demo --serve", "serve [MODEL]")
    model, options = _take(options, "--model")
    _, options = _take(options, "--out")  # only the demo itself writes a folder
    return ["serve", *model, *(option for option in options if option != "--serve")]


def _announce(former: str, current: str) -> None:
    print(f"{former} is now spelled {current}.", file=sys.stderr)


def _names(options: list[str], name: str) -> bool:
    return any(option.partition("=")[0] == name for option in options)


def _take(options: list[str], name: str) -> tuple[list[str], list[str]]:
    """Splits an option, given as ``--name value`` or ``--name=value``, from the others.

    Returns:
        Its last value as a list, empty without one, and the other options.
    """
    values: list[str] = []
    others: list[str] = []
    remaining = iter(options)
    for option in remaining:
        given, equals, value = option.partition("=")
        if given != name:
            others.append(option)
        else:
            values += [value] if equals else islice(remaining, 1)
    return values[-1:], others
