"""Reference latents are a stratified sample that round-trips, and that refits and verifies classifiers."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file, save_file

from bc_sam.classifiers.reference_latents import ReferenceLatents
from bc_sam.errors import DataError, WeightsError

SIZES = {"latent_dim": 8, "n_labels": 13, "n_domains": 2}


@pytest.fixture
def reference(labelled_latents, fitted_classifiers):
    latents, labels = labelled_latents
    sample = ReferenceLatents.sample(latents, labels, np.arange(len(labels)) % 2)
    return sample.remember(fitted_classifiers)


@given(
    st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 2)), min_size=1, max_size=60),
    st.integers(1, 5),
    st.integers(0, 9),
)
def test_each_class_of_each_domain_is_sampled_up_to_the_limit(cells, per_class, seed):
    labels, domains = np.array(cells).T
    latents = np.arange(len(cells), dtype=np.float32)[:, None]
    sample = ReferenceLatents.sample(latents, labels, domains, per_class=per_class, seed=seed)
    rows = sample.latents[:, 0].astype(int)
    assert len(set(rows)) == len(rows)
    np.testing.assert_array_equal(sample.labels, labels[rows])
    np.testing.assert_array_equal(sample.domains, domains[rows])
    for cell in set(cells):
        kept = sum((label, domain) == cell for label, domain in zip(sample.labels, sample.domains, strict=True))
        assert kept == min(per_class, cells.count(cell))


def test_saving_and_loading_round_trips(reference, tmp_path):
    reference.save(tmp_path / "reference.safetensors")
    loaded = ReferenceLatents.load(tmp_path / "reference.safetensors", **SIZES)
    for name in ("latents", "labels", "domains"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(reference, name))
    assert loaded.probabilities.keys() == reference.probabilities.keys()


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2], lambda a: a[::-1]])
def test_arrays_of_any_memory_layout_are_saved_as_they_are(reference, tmp_path, layout):
    changed = replace(
        reference,
        latents=layout(reference.latents),
        labels=layout(reference.labels),
        domains=layout(reference.domains),
        probabilities={name: layout(values) for name, values in reference.probabilities.items()},
    )
    changed.save(tmp_path / "reference.safetensors")
    loaded = ReferenceLatents.load(tmp_path / "reference.safetensors", **SIZES)
    for name in ("latents", "labels", "domains"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(changed, name))
    for name, values in changed.probabilities.items():
        np.testing.assert_array_equal(loaded.probabilities[name], values)


def grey(row):
    """The image of a cell, whose grey value encodes its row."""
    return np.full((32, 32, 3), 40 * row, np.uint8)


class TestThumbnails:
    def test_there_are_none_without_images(self, reference):
        assert reference.thumbnails == ()
        assert reference.thumbnail(0) == b""
        assert reference.n_thumbnails(("north", "south")) == {}

    @pytest.fixture
    def with_thumbnails(self):
        latents = np.arange(6, dtype=np.float32)[:, None]
        return ReferenceLatents.sample(latents, np.zeros(6), np.arange(6) % 2, per_class=2, image=grey)

    def test_each_sampled_cell_has_its_own(self, with_thumbnails):
        assert len(with_thumbnails.thumbnails) == 4
        for row, (latent,) in enumerate(with_thumbnails.latents):
            mean = np.asarray(Image.open(io.BytesIO(with_thumbnails.thumbnail(row)))).mean()
            assert mean == pytest.approx(40 * latent, abs=2)

    def test_they_follow_their_cells(self, with_thumbnails):
        assert with_thumbnails.subset(np.array([3, 1])).thumbnails == (
            with_thumbnails.thumbnails[3],
            with_thumbnails.thumbnails[1],
        )
        assert with_thumbnails.remember({}).thumbnails == with_thumbnails.thumbnails

    def test_cells_with_and_without_can_be_joined(self, with_thumbnails):
        without = replace(with_thumbnails, thumbnails=(), domains=with_thumbnails.domains + 2)
        joined = with_thumbnails.joined(without)
        np.testing.assert_array_equal(joined.latents, np.concatenate([with_thumbnails.latents] * 2))
        assert joined.thumbnails == (*with_thumbnails.thumbnails, *[b""] * 4)
        assert joined.n_thumbnails(("north", "south", "east")) == {"north": 2, "south": 2}
        assert without.joined(with_thumbnails).thumbnail(4) == with_thumbnails.thumbnail(0)
        assert without.joined(without).thumbnails == ()


def test_unchanged_classifiers_have_no_difference(reference, fitted_classifiers):
    assert reference.differences(fitted_classifiers) == {}


def test_a_classifier_with_other_probabilities_is_named(reference, fitted_classifiers):
    swapped = {**fitted_classifiers, "rf": fitted_classifiers["logistic"]}
    assert list(reference.differences(swapped)) == ["rf"]


def test_a_classifier_that_returns_nan_is_named(reference, fitted_classifiers):
    class Broken:
        def learned_proba(self, latents):
            return np.full((len(latents), 13), np.nan, dtype=np.float32)

    assert list(reference.differences({**fitted_classifiers, "ann": Broken()})) == ["ann"]


def test_refitted_classifiers_have_the_same_classes(reference, labelled_latents):
    fitted = reference.fit(("logistic", "rf"), 13)
    latents, labels = labelled_latents
    for classifier in fitted.values():
        assert set(classifier.classes) == set(labels)
        assert (classifier.predict(latents) == labels).mean() > 0.9


def test_refitting_without_labels_is_an_error(reference):
    with pytest.raises(DataError, match="no labelled reference embeddings"):
        replace(reference, labels=np.full_like(reference.labels, -1)).fit(("rf",), 13)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays: arrays | {"labels": arrays["labels"] + 13},
        lambda arrays: arrays | {"domains": arrays["domains"] - 9},
        lambda arrays: arrays | {"labels": arrays["labels"][1:]},
        lambda arrays: arrays | {"latents": arrays["latents"] * np.float32(np.nan)},
        lambda arrays: arrays | {"latents": arrays["latents"].astype(np.float64)},
        lambda arrays: arrays | {"probabilities.rf": np.zeros((3, 2), np.float32)},
        lambda arrays: {name: values for name, values in arrays.items() if name != "latents"},
    ],
)
def test_a_file_that_does_not_fit_the_model_is_refused(reference, tmp_path, spoil):
    path = tmp_path / "reference.safetensors"
    reference.save(path)
    save_file(spoil(load_file(path)), path)
    with pytest.raises(WeightsError, match=r"reference\.safetensors"):
        ReferenceLatents.load(path, **SIZES)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "reference.safetensors"
    path.write_bytes(b"\xff" * 100)
    with pytest.raises(WeightsError, match="damaged"):
        ReferenceLatents.load(path, **SIZES)
