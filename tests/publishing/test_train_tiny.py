"""The script that trains the model in the package runs from scratch to predictions."""

from dataclasses import replace

import pytest
import torch

from bc_sam import BCSam
from bc_sam.config.arguments import PretrainingArguments
from bc_sam.config.presets import preset
from bc_sam.data.datasets.rendered import write_rendered
from bc_sam.networks.sam.loading import load_sam

CLASSES = ("eosinophil", "lymphocyte_typical", "monocyte")


def few_steps(base):
    """Arguments that make the three stages take seconds."""
    tiny = preset("tiny")
    return replace(
        tiny,
        base=base,
        folds=3,
        image_size=96,
        validation=0.2,
        segmentation=replace(tiny.segmentation, train_encoder=False, epochs=1, warmup_epochs=0),
        autoencoder=replace(tiny.autoencoder, epochs=1, batch_size=16),
        classifiers=replace(tiny.classifiers, names=("logistic",), default="logistic", rendered=1),
    )


@pytest.fixture(scope="module")
def laboratories(tmp_path_factory):
    """Two folders of cells, all with annotated masks, in the script's input format."""
    folder = tmp_path_factory.mktemp("laboratories")
    write_rendered(folder, ("munich", "barcelona"), cells_per_class=8, size=96, labels=CLASSES)
    return folder


def test_a_run_from_scratch_writes_a_model_into_the_package(run_script, laboratories, tmp_path):
    options = ("--matek19", laboratories / "munich", "--acevedo20", laboratories / "barcelona")
    out, package = tmp_path / "run", tmp_path / "embedded"
    run_script(
        "train_tiny",
        *options,
        *("--masks", laboratories / "masks" / "pairs.csv", "--out", out, "--embed"),
        arguments=few_steps,
        PretrainingArguments=lambda: PretrainingArguments(window=64, window_epochs=1, epochs=1, teacher_epochs=1),
        RENDERED=1,
        EMBEDDED_FOLDER=package,
    )
    model = BCSam.from_pretrained(package)
    assert model.config.domains == ("matek19", "acevedo20")
    cells = sorted((laboratories / "munich").rglob("*.png"))[:3]
    assert len(model.predict(cells)) == 3
    assert {(pair.source, pair.target) for pair in model.evaluation.pairs} >= {("matek19", "acevedo20")}
    seed = few_steps(None).seed
    initial, pretrained = (
        load_sam(base, seed=seed).vision_encoder.layers[0].mlp.lin1 for base in ("tiny", f"{out}-base")
    )
    assert initial.weight.shape == pretrained.weight.shape
    assert not torch.equal(initial.weight, pretrained.weight)  # the stages start from a pretrained base
    assert "also on 1 rendered cells per class" in (package / "README.md").read_text()
