"""Former spellings of commands are rewritten to the current ones, each named in one line on stderr."""

import pytest

from bc_sam.cli.former import rewrite_former_spellings
from bc_sam.errors import ConfigError


@pytest.mark.parametrize(
    ("former", "current", "notices"),
    [
        (
            "train --data ours=cells --from model --out run",
            "adapt model --data ours=cells --out run",
            ["train --from MODEL is now spelled adapt MODEL."],
        ),
        (
            "train --from=model --among=a,b --out run",
            "adapt model --out run --labels a,b",
            ["train --from MODEL is now spelled adapt MODEL.", "--among is now spelled --labels."],
        ),
        ("predict cells --among a,b", "predict cells --labels a,b", ["--among is now spelled --labels."]),
        ("save model --among=a copy", "save model copy --labels a", ["--among is now spelled --labels."]),
        ("evaluate model --among a", "evaluate model --labels a", ["--among is now spelled --labels."]),
        (
            "train --seed 3 --out=run --resume",
            "resume run",
            ["train --resume --out RUN is now spelled resume RUN."],
        ),
        ("demo --serve", "serve", ["demo --serve is now spelled serve [MODEL]."]),
        (
            "demo --out demo --port 7860 --model runs/mine --serve",
            "serve runs/mine --port 7860",
            ["demo --serve is now spelled serve [MODEL]."],
        ),
    ],
)
def test_former_spellings_are_rewritten(former, current, notices, capsys):
    assert rewrite_former_spellings(former.split()) == current.split()
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == notices


@pytest.mark.parametrize(
    "current",
    [
        "",
        "--help",
        "train --data a=from --out run",
        "demo --out demo",
        "adapt --from",
        "predict --serve",
        "embed --among",
    ],
)
def test_anything_else_is_left_alone(current, capsys):
    assert rewrite_former_spellings(current.split()) == current.split()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["predict cells", "save model copy", "evaluate model", "train --from model"])
def test_both_spellings_at_once_are_rejected(command):
    with pytest.raises(ConfigError, match="Give --labels alone"):
        rewrite_former_spellings([*command.split(), "--labels", "a", "--among=b"])


@pytest.mark.parametrize(
    ("former", "current"), [("train --out run --from", "adapt --out run"), ("train --resume", "resume")]
)
def test_a_missing_value_leaves_the_argument_missing(former, current):
    """Typer then reports it; nothing is trained."""
    assert rewrite_former_spellings(former.split()) == current.split()
