"""Code, command line and page give the same prediction, or abstain for the same reasons.

The images of one call share a scale and a stain, so a cell by itself is compared with the code's answer for it alone.
"""

import csv
import io

import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from scipy.ndimage import gaussian_filter

from bc_sam import load_model
from bc_sam.data.datasets.rendered import LABORATORIES, render_cell
from bc_sam.models.abstention import RejectionThresholds
from bc_sam.space.page import build, launch_options
from bc_sam.space.server.settings import PageSettings
from bc_sam.space.server.uploads import UploadFolder
from bc_sam.space.views.decision import Choice
from bc_sam.space.views.loaded_models import LoadedModel
from bc_sam.space.views.slide_inference import predict_slide
from bc_sam.utils.model_source import EMBEDDED_MODEL


def cell(label, laboratory, seed):
    return render_cell(label, LABORATORIES[laboratory], np.random.default_rng(seed))[0]


def images():
    """Images of one cell, no cell and several cells."""
    for seed, laboratory in enumerate(LABORATORIES):
        for label in ("neutrophil_segmented", "monocyte", "eosinophil"):
            yield f"{laboratory}_{label}.png", cell(label, laboratory, seed)
    sharp = cell("monocyte", "munich", 7)
    yield "black.png", np.zeros((224, 224, 3), np.uint8)
    yield "blank.png", np.full((224, 224, 3), (225, 205, 200), np.uint8)
    yield "blurred.png", gaussian_filter(sharp, (6, 6, 0))
    yield "several.png", np.concatenate([np.concatenate([sharp, cell("eosinophil", "munich", 8)], 1)] * 2)
    yield "noise.png", np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    yield "half.png", sharp[:, sharp.shape[1] // 2 :]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    for name, pixels in images():
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def model():
    return load_model(device="cpu")


@pytest.fixture(scope="module")
def answers(folder, model, run_bc_sam, tmp_path_factory):
    """For each interface, the name, likeliest label, probability, reasons and OOD score of each file."""
    files = sorted(folder.iterdir())
    table = tmp_path_factory.mktemp("table") / "cells.csv"
    assert run_bc_sam("predict", folder, "--csv", table) == 0
    *_, slide = predict_slide(LoadedModel(EMBEDDED_MODEL, model), files, PageSettings())
    choice = Choice(model.config.default_classifier, RejectionThresholds())
    with UploadFolder(600):
        settings = PageSettings()
        page = build(model, settings)
        _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, **launch_options(settings))
        try:
            client = Client(address, verbose=False, download_files=str(tmp_path_factory.mktemp("down")))
            of_cells = [client.predict(file=handle_file(file), api_name="/name_cell") for file in files]
            of_slide = client.predict(files=[handle_file(file) for file in files], api_name="/name_slide")["cells"]
        finally:
            page.close()
    return {
        "command line": by_file(from_csv(table.read_text())),
        "code": by_file(from_stream(model.stream(files, abstain=True))),
        "code, one cell": by_file(from_stream(one for file in files for one in model.stream([file], abstain=True))),
        "page, one cell": by_file(from_api(of_cells)),
        "page, a slide": by_file(from_api(of_slide)),
        "page, CSV": by_file(from_csv(slide.to_csv(choice))),
    }


def by_file(answers):
    return {file: (words, numbers) for file, words, numbers in answers}


def from_csv(text):
    for row in csv.DictReader(io.StringIO(text)):
        file = row["file"].rpartition("/")[2]
        yield file, (row["name"] or None, row["likeliest"], row["reasons"]), (row["probability"], row["ood"])


def from_stream(predictions):
    for one in predictions:
        reasons = " ".join(reason.text for reason in one.reasons)
        yield one.source.name, (one.label, one.likeliest, reasons), (one.probability, one.ood)


def from_api(cells):
    for one in cells:
        words = (one["name"], one["likeliest"], " ".join(one["reasons"]))
        yield one["file"], words, (one["probability"], one["ood"])


WAYS = ("command line", "page, one cell", "page, a slide", "page, CSV")


@pytest.mark.parametrize("way", WAYS)
def test_the_answer_is_that_of_the_code(answers, way):
    expected = answers["code, one cell" if way == "page, one cell" else "code"]
    assert set(answers[way]) == set(expected)
    for file, (words, numbers) in answers[way].items():
        assert words == expected[file][0], file
        assert [float(number) for number in numbers] == pytest.approx(expected[file][1], abs=2e-4), file


@pytest.mark.parametrize("way", ["code", "code, one cell", *WAYS])
@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("black.png", "The image shows nothing."),
        ("blank.png", "The image shows nothing."),
        ("blurred.png", "out of focus"),
        ("several.png", "cells. Crop the image to one of them."),
    ],
)
def test_what_is_no_single_sharp_cell_gets_no_name(answers, way, file, reason):
    (name, likeliest, reasons), _ = answers[way][file]
    assert name is None
    assert likeliest is not None
    assert reason in reasons


def test_some_cells_are_named(answers):
    names = [words[0] for file, (words, _) in answers["code"].items() if file.partition("_")[0] in LABORATORIES]
    assert sum(name is not None for name in names) >= 3


def test_names_are_those_of_predict(answers, model, folder):
    files = sorted(folder.iterdir())
    for file, label in zip(files, model.predict(files), strict=True):
        assert answers["code"][file.name][0][1] == label
    assert model.predict(files, abstain=True) == [answers["code"][file.name][0][0] for file in files]
