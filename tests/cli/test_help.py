"""Help texts fit a terminal of 80 columns, and every example is a valid command line."""

import re
import shlex
from importlib.metadata import version
from typing import get_args

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from bc_sam.classifiers.kinds import KINDS
from bc_sam.cli import app as _registered  # noqa: F401  importing the package registers the commands
from bc_sam.cli.app import app
from bc_sam.config.arguments import ClassifierArguments
from bc_sam.config.base import Precision, Protocol
from bc_sam.config.labels import LABELS
from bc_sam.config.network import Method

COMMANDS = get_command(app).commands

every_command = pytest.mark.parametrize("name", COMMANDS)


def help_of(*command):
    result = CliRunner(env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    return result.output


@every_command
def test_no_help_text_is_truncated(name):
    assert "…" not in help_of(name)


def test_the_command_list_is_not_truncated():
    text = help_of()
    assert "…" not in text
    assert all(name in text for name in COMMANDS)


@every_command
def test_there_is_one_example(name):
    assert help_of(name).count("For example:") == 1


@every_command
def test_the_example_is_a_valid_command_line(name):
    """Parsing runs no command, but fails on unknown or missing options."""
    example = COMMANDS[name].help.partition("For example:")[2].replace("\\\n", " ")
    program, command, *arguments = shlex.split(example)
    assert (program, command) == ("bc-sam", name)
    context = COMMANDS[name].make_context(name, arguments)
    assert context.params


@every_command
def test_the_first_line_fits_a_terminal(name):
    assert len(COMMANDS[name].help.splitlines()[0]) <= 80


@pytest.mark.parametrize("name", ["predict", "save", "evaluate"])
def test_the_labels_are_listed(name):
    words = re.findall(r"\w+", help_of(name))
    assert set(LABELS) <= set(words)


def test_the_classifiers_are_listed():
    assert ", ".join(ClassifierArguments().names) in " ".join(help_of("predict").replace("│", " ").split())
    assert set(ClassifierArguments().names) == set(KINDS)


@pytest.mark.parametrize(
    ("name", "option", "choices"),
    [
        ("predict", "dtype", ("auto", "float32", "bfloat16", "float16")),
        ("train", "precision", get_args(Precision)),
        ("train", "method", get_args(Method)),
        ("train", "protocol", get_args(Protocol)),
        ("train", "preset_name", ("paper", "pretrained", "tiny")),
        ("adapt", "learn_from", ("both", "new")),
    ],
)
def test_choices_are_spelled_out(name, option, choices):
    (parameter,) = (each for each in COMMANDS[name].params if each.name == option)
    assert all(re.search(rf"\b{choice}\b", parameter.help) for choice in choices)


@pytest.mark.parametrize("name", ["predict", "embed", "attention"])
def test_commands_on_cells_take_what_loading_a_model_takes(name):
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--device", "--revision", "--subfolder", "--token", "--local-files-only", "--force-download"} <= options


@pytest.mark.parametrize(
    ("name", "more"),
    [("serve", {"--local-files-only"}), ("adapt", set()), ("fit", {"--local-files-only"}), ("resume", set())],
)
def test_commands_that_start_from_a_model_take_what_reaches_it_on_the_hub(name, more):
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    where = set() if name == "resume" else {"--revision", "--subfolder"}  # which a run remembers
    assert {"--token", *where, *more} <= options


def test_the_version_is_printed():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"bc-sam {version('bc_sam')}\n")


def test_former_spellings_are_hidden():
    shown = help_of("train") + help_of("demo") + help_of("evaluate")
    for option in ("--from", "--resume", "--among", "--labels-per-class", "--learn-from", "--serve", "--port"):
        assert not re.search(rf"{option}\b(?!-)", shown), option
