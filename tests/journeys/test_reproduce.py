"""Each command and example of docs/reproduce.md runs, on a few rendered cells and a small SAM."""

import re
import shlex
from pathlib import Path

import pytest
from original_checkpoints import write_checkpoints
from small_model import DECODER_CHANNELS, IMAGE_SIZE, small_sam

from bc_sam.data.datasets.rendered import write_rendered
from bc_sam.evaluation.results import Evaluation

PAGE = Path(__file__).parents[2] / "docs" / "reproduce.md"
MATEK, ACEVEDO = "AML-Cytomorphology_LMU", "PBC_dataset_normal_DIB"

#: Settings that make a training one of seconds; what the page sets itself stays.
SMALL = {
    "train": (
        "folds=2",
        f"image_size={IMAGE_SIZE}",
        "segmentation.epochs=1",
        "segmentation.warmup_epochs=0",
        "autoencoder.epochs=1",
        f"autoencoder.decoder_channels={list(DECODER_CHANNELS)}",
        'classifiers.names=["rf"]',
        "classifiers.default=rf",
    ),
    "compare": (
        "folds=2",
        f"image_size={IMAGE_SIZE}",
        "segmentation.epochs=1",
        "segmentation.warmup_epochs=0",
        "network.image_backbone=tiny:resnet",
        "network.mask_backbone=tiny:resnet",
        "network.reduction=4",
        "network.input_size=48",
        "network.epochs=1",
        "network.warmup_epochs=0",
    ),
}


def blocks(language):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [text for marked, text in found if marked == language]


def all_commands():
    """The command lines of the page, as lists of words."""
    return [shlex.split(line) for line in "".join(blocks("")).replace("\\\n", " ").splitlines()]


def commands(name):
    """The command lines of the page with this name of a command."""
    return [words for words in all_commands() if words[:2] == ["bc-sam", name]]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with everything that the page names: data sets, masks, the base, and the original's checkpoints."""
    folder = tmp_path_factory.mktemp("place")
    labels = ("basophil", "monocyte")
    write_rendered(folder, ("munich", "barcelona"), cells_per_class=4, size=IMAGE_SIZE, labels=labels)
    for laboratory, name in (("munich", MATEK), ("barcelona", ACEVEDO)):
        (folder / name).symlink_to(folder / laboratory)
    (folder / "pairs.csv").symlink_to(folder / "masks" / "pairs.csv")
    small_sam().save_pretrained(folder / "base")
    return write_checkpoints(folder, "sam_vit_b_01ec64.pth")


@pytest.fixture
def run(place, run_bc_sam, monkeypatch):
    """Runs a command of the page in the folder, in small."""
    monkeypatch.chdir(place)

    def run(words):
        words = [{"facebook/sam-vit-base": str(place / "base")}.get(word, word) for word in words]
        settings = [option for setting in SMALL.get(words[1], ()) for option in ("--set", setting)]
        return run_bc_sam(*words[1:], *settings)

    return run


def test_the_data_sets_are_summarized(run, capsys):
    for words in commands("data"):
        assert run(words) == 0
    assert capsys.readouterr().out.splitlines().count("8 images") == 2


def test_both_protocols_are_trained_and_evaluated_on_every_fold(run, place):
    for train, evaluate in zip(commands("train"), commands("evaluate"), strict=True):
        assert run(train) == 0
        assert run(evaluate) == 0
    for protocol in ("paper", "strict"):
        evaluation = Evaluation.load(place / "runs" / protocol / "evaluation.json")
        assert evaluation.protocol == protocol
        assert {pair.fold for pair in evaluation.pairs} == {0, 1}
        assert evaluation.domains == ["matek19", "acevedo20"]


def test_checkpoints_of_the_original_embed_cells_for_new_classifiers(run, capsys):
    for name in ("convert", "embed"):
        (words,) = commands(name)
        assert run(words) == 0
    capsys.readouterr()
    (example,) = blocks("python")
    exec(compile(example, PAGE.name, "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines if "Matek-19 to Acevedo-20" in line] == ["rf", "svm_rbf"]


def test_the_networks_are_compared(run, place):
    (words,) = commands("compare")
    assert run(words) == 0
    evaluation = Evaluation.load(place / "runs" / "networks" / "evaluation.json")
    assert set(evaluation.classifiers) == {"slca", "shape-aware"}
    assert {pair.fold for pair in evaluation.pairs} == {0, 1}


def test_every_command_of_the_page_is_run_here():
    assert {tuple(words[:1]) for words in all_commands()} == {("bc-sam",)}
    assert {words[1] for words in all_commands()} == {"data", "train", "evaluate", "convert", "embed", "compare"}
