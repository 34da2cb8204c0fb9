"""The script that trains the model in the package runs from scratch to predictions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_model import DECODER_CHANNELS

from bc_sam import BCSam, load_model
from bc_sam.config.arguments import PretrainingArguments
from bc_sam.config.labels import LABELS
from bc_sam.config.presets import preset
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell, write_rendered
from bc_sam.errors import DataError
from bc_sam.networks.sam.loading import load_sam

SIZE = 64
CLASSES = ("eosinophil", "lymphocyte_typical", "monocyte")


def few_steps(base):
    """Arguments that make the three stages take seconds."""
    tiny = preset("tiny")
    return replace(
        tiny,
        base=base,
        folds=3,
        image_size=SIZE,
        views=30,
        validation=0.2,
        segmentation=replace(tiny.segmentation, train_encoder=False, epochs=1, warmup_epochs=0),
        autoencoder=replace(
            tiny.autoencoder,
            decoder_channels=DECODER_CHANNELS,
            epochs=1,
            batch_size=16,
            feature_weight=1.0,
            label_weight=1.0,
        ),
        classifiers=replace(tiny.classifiers, names=("logistic",), default="logistic", rendered=1),
    )


@pytest.fixture(scope="module")
def laboratories(tmp_path_factory):
    """Folders of two laboratories with annotated masks, and a BCCD of fields, in the script's input formats."""
    folder = tmp_path_factory.mktemp("laboratories")
    write_rendered(folder, ("munich", "barcelona"), cells_per_class=6, size=96, labels=CLASSES)
    write_bccd(folder / "bccd")
    return folder


def write_bccd(folder):
    """Fields of one white cell each, of two classes."""
    (folder / "fields").mkdir(parents=True)
    lines = ["field,object,xmin,ymin,xmax,ymax,cell_class"]
    for i in range(8):
        label = CLASSES[2 * (i % 2)]
        cell, _ = render_cell(label, LABORATORIES["tehran"], np.random.default_rng(i), 240)
        field = Image.new("RGB", (640, 480), tuple(int(value) for value in cell[0, 0]))
        field.paste(Image.fromarray(cell), (200, 120))
        field.save(folder / "fields" / f"{i}.jpg")
        lines.append(f"{i}.jpg,WBC,270,190,370,290,{label}")
    (folder / "boxes.csv").write_text("\n".join(lines) + "\n")


def few_epochs(**_):
    """Arguments that make the pretraining take seconds."""
    return PretrainingArguments(epochs=1, teacher_epochs=1, teacher_sizes=(32, 40))


@pytest.fixture
def train(run_script, laboratories, tmp_path):
    """Runs the script; returns its run folder."""

    def run(*options, out="run", **replaced):
        out = tmp_path / out
        inputs = ("--matek19", laboratories / "munich", "--acevedo20", laboratories / "barcelona")
        masks = laboratories / "masks" / "pairs.csv"
        changes = {"arguments": few_steps, "PretrainingArguments": few_epochs, "RENDERED": 1, **replaced}
        run_script("train_tiny", *inputs, "--masks", masks, "--out", out, *options, **changes)
        return out

    return run


def test_a_run_from_scratch_writes_a_model_into_the_package(train, laboratories, tmp_path, run_script, capsys):
    package = tmp_path / "embedded"
    out = train("--bccd", laboratories / "bccd", "--embed", EMBEDDED_FOLDER=package)
    model = BCSam.from_pretrained(package)
    assert model.config.domains == ("matek19", "acevedo20", "bccd")
    assert model.config.normalization == few_steps("").normalization
    cells = sorted((laboratories / "munich").rglob("*.png"))[:3]
    assert len(model.predict(cells)) == 3
    assert {(pair.source, pair.target) for pair in model.evaluation.pairs} >= {("matek19", "acevedo20")}
    assert "also on 1 rendered cells per class" in (package / "README.md").read_text()
    assert (out / "work" / "fold-0" / "views" / "table.json").exists()

    # The stages start from a pretrained base.
    seed = few_steps("").seed
    initial, pretrained = (
        load_sam(base, image_size=SIZE, seed=seed).vision_encoder.layers[0].mlp.lin1
        for base in ("tiny", f"{out}-base")
    )
    assert initial.weight.shape == pretrained.weight.shape
    assert not torch.equal(initial.weight, pretrained.weight)

    # The plain teachers are models of their own.
    for size in (32, 40):
        teacher = load_model(f"{out}-base-teacher-{size}")
        assert teacher.config.method == "resnet"
        assert teacher.network_config.input_size == size
        assert teacher.config.normalization == model.config.normalization
        assert teacher.config.domains == model.config.domains
        probabilities = teacher.predict_proba(cells)
        assert probabilities.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)
        assert set(teacher.predict(cells)) <= set(LABELS)

    # The cells that it held out are found again, and are named as in its evaluation, as it averages nothing.
    capsys.readouterr()
    sources = {"matek19": "munich", "acevedo20": "barcelona", "bccd": "bccd"}
    data = [f"--data={name}={laboratories / folder}" for name, folder in sources.items()]
    masks = f"--masks={laboratories / 'masks' / 'pairs.csv'}"
    run_script("measure_held_out", "--model", out / "model", *data, masks)  # not rounded to half precision
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:5]]
    assert len(rows) == 3
    for name, _, n_cells, accuracy, *_, stored in rows:
        assert int(n_cells) == model.evaluation.select("logistic", "all", name)[0].n_test
        assert accuracy == stored
    with pytest.raises(DataError, match=r"matek19, acevedo20, bccd.* in this order"):
        run_script("measure_held_out", "--model", package, *data[::-1], masks)
    with pytest.raises(DataError, match="are held out, and"):
        run_script("measure_held_out", "--model", package, *data[:2], f"--data=bccd={laboratories / 'munich'}", masks)

    # A finished base is not trained again.
    train("--bccd", laboratories / "bccd", train_base=None)


def test_bccd_is_optional(train, laboratories):
    domains = []

    def stop(experiment, _):
        domains.append(experiment.cells.table.domain_names)
        raise InterruptedError

    for options in ((), ("--bccd", laboratories / "bccd")):
        with pytest.raises(InterruptedError):
            train(*options, out=f"{len(options)}", train_base=stop)
    assert domains == [["matek19", "acevedo20"], ["matek19", "acevedo20", "bccd"]]
