"""Predictions as columns of a data set, and as a function for any other engine."""

import pickle
from dataclasses import replace

import datasets
import numpy as np
import pytest

from bc_sam.errors import BCSamError, ConfigError
from bc_sam.models.auto import load_model
from bc_sam.models.batch import CellPredictor, predict


@pytest.fixture
def files(cells):
    return [str(path) for path in sorted(cells.glob("?.png"))]


@pytest.fixture
def expected(files, model_folder):
    model = load_model(model_folder, dtype="float32")
    return list(model.stream(files, abstain=True, profile=model.profile(files)))


def test_a_data_set_gets_the_columns_and_keeps_its_own(files, expected, settings):
    dataset = datasets.Dataset.from_dict({"image": files, "slide": list("aabbcc")})
    dataset = dataset.cast_column("image", datasets.Image())
    predicted = predict(dataset, settings)
    assert predicted["slide"][:] == list("aabbcc")
    assert predicted.features["image"] == datasets.Image()
    assert predicted["likeliest"][:] == [prediction.likeliest for prediction in expected]
    np.testing.assert_allclose(predicted["embedding"][:], [prediction.latent for prediction in expected], atol=1e-4)


def test_a_streamed_data_set_stays_a_stream(files, expected, settings):
    stream = datasets.Dataset.from_dict({"image": files}).to_iterable_dataset()
    predicted = predict(stream, settings)
    assert isinstance(predicted, datasets.IterableDataset)
    assert [row["likeliest"] for row in predicted] == [prediction.likeliest for prediction in expected]


def test_a_predictor_travels_without_its_model_and_answers_the_same(files, expected, settings):
    predictor = CellPredictor(settings, sample=files)
    here = predictor([*files, b"no image"])
    assert here["likeliest"] == [*(prediction.likeliest for prediction in expected), None]
    assert "is not an image of a known format" in here["error"][-1]
    sent = pickle.dumps(predictor)
    assert len(sent) < 5000
    assert pickle.loads(sent)(files)["name"] == here["name"][:-1]


def test_without_a_sample_an_image_does_not_depend_on_those_beside_it(files, settings):
    predictor = CellPredictor(settings)
    together, alone = predictor(files[:3])["embedding"], predictor(files[:1])["embedding"]
    np.testing.assert_allclose(together[0], alone[0], atol=1e-4)


def test_a_process_with_another_version_of_the_model_is_refused(files, settings, model_folder, tmp_path):
    from small_model import small_model

    from bc_sam.config.normalization import NormalizationConfig

    folder = small_model(1, normalization=NormalizationConfig(30.0)).save_pretrained(tmp_path / "model")
    predictor = CellPredictor(replace(settings, model=str(folder)))
    small_model(2, normalization=NormalizationConfig(30.0)).save_pretrained(folder)
    with pytest.raises(BCSamError, match="has another version of the model"):
        predictor(files)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"picture": ["a.png"]}, "no column 'image', but picture"),
        ({"image": ["a.png"], "name": ["x"]}, "has a column 'name' already"),
    ],
)
def test_columns_that_do_not_fit_are_refused(settings, columns, words):
    image = next(iter(columns))
    with pytest.raises(ConfigError, match=words):
        predict(datasets.Dataset.from_dict(columns | {image: [b"no image"]}), settings)


def test_other_objects_are_refused(settings):
    with pytest.raises(ConfigError, match="A list is no data set"):
        predict([1], settings)
