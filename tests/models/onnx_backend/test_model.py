"""With ONNX Runtime a model gives the same answers as with torch, from an export that was made of it."""

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from faults import fill_disk, watched
from onnx import TensorProto, helper, numpy_helper, save_model
from onnx import load as load_onnx
from small_model import IMAGE_SIZE, small_model

from bc_sam import BCSam, load_model
from bc_sam.errors import BCSamError, ConfigError, UntrustedFileError, WeightsError
from bc_sam.models.folder import CONFIG, hash_file, load_config, write_config
from bc_sam.models.onnx_backend.export import export_to_folder
from bc_sam.models.onnx_backend.files import FINGERPRINT, fingerprint

NETWORKS, SHARED = "onnx/networks.onnx", "onnx/shared_weights.json"
CELLS = list(np.random.default_rng(0).integers(0, 256, (5, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def pair(exported_model):
    """The same model with torch and with ONNX Runtime."""
    torch_model = load_model(exported_model, device="cpu", dtype="float32")
    return torch_model, BCSam.from_pretrained(exported_model, backend="onnx")


@pytest.fixture
def folder(exported_model, tmp_path):
    return shutil.copytree(exported_model, tmp_path / "model")


def relist(folder, **hashes):
    """Changes hashes in ``config.json``, as whoever changes a file of a model would have to."""
    config = load_config(folder)
    files = {name: digest for name, digest in (config.files | hashes).items() if digest}
    write_config(replace(config, files=files), folder / CONFIG)


class TestTheSameAnswers:
    @pytest.mark.parametrize("classifier", ["logistic", "rf"])
    def test_probabilities(self, pair, classifier):
        one, other = (model.predict_proba(CELLS, classifier=classifier) for model in pair)
        np.testing.assert_allclose(one, other, atol=1e-5)

    @pytest.mark.parametrize("n", [1, 2, 5])
    def test_embeddings_of_any_number_of_cells(self, pair, n):
        one, other = (model.embed(CELLS[:n]) for model in pair)
        np.testing.assert_allclose(one, other, atol=1e-5)

    def test_masks(self, pair):
        for one, other in zip(*(model.segment(CELLS) for model in pair), strict=True):
            assert (one == other).mean() > 0.999

    def test_reasons_and_out_of_distribution_scores(self, pair):
        blank = np.full_like(CELLS[0], 200)
        one, other = (list(model.stream([*CELLS, blank, b"no image"], abstain=True)) for model in pair)
        assert [p.label for p in one] == [p.label for p in other]
        assert [[r.short for r in p.reasons] for p in one] == [[r.short for r in p.reasons] for p in other]
        assert [p.ood for p in one] == pytest.approx([p.ood for p in other])
        assert str(one[-1].error) == str(other[-1].error)

    def test_restricted_labels(self, exported_model):
        models = [load_model(exported_model, backend=backend, device="cpu") for backend in ("torch", "onnx")]
        one, other = (m.restrict_labels(["basophil", "myeloblast"]).predict_proba(CELLS) for m in models)
        np.testing.assert_allclose(one, other, atol=1e-2)
        assert (other[:, 1] == 0).all()

    def test_embeddings_from_elsewhere(self, pair):
        latents = pair[0].embed(CELLS)
        one, other = (model.classifiers["rf"].predict_proba(latents) for model in pair)
        np.testing.assert_allclose(one, other, atol=1e-6)

    def test_no_cells(self, pair):
        assert pair[1].predict([]) == []

    def test_a_rendered_cell(self, pair):
        latent = pair[0].embed(CELLS)[0]
        one, other = (model.render(latent).astype(int) for model in pair)
        assert one.shape == other.shape == (128, 128, 3)
        assert np.abs(one - other).max() <= 1  # where a half is rounded


class TestLoading:
    def test_it_needs_neither_torch_nor_scikit_learn(self, exported_model):
        code = (
            "import sys, numpy as np\nfrom bc_sam import BCSam\n"
            f"model = BCSam.from_pretrained({str(exported_model)!r}, backend='onnx')\n"
            f"print(list(model.stream([np.zeros(({IMAGE_SIZE}, 70, 3), np.uint8)], abstain=True))[0].likeliest)\n"
            "sys.exit(' '.join({'torch', 'sklearn', 'transformers', 'skops'} & sys.modules.keys()) or None)"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

    def test_only_the_classifiers_that_are_asked_for(self, exported_model):
        assert set(load_model(exported_model, backend="onnx", classifiers="rf").classifiers) == {"rf"}
        with pytest.raises(ConfigError, match="has no classifier 'svm'"):
            load_model(exported_model, backend="onnx", classifiers="svm")

    def test_it_is_the_class_of_the_model(self, pair):
        assert isinstance(pair[1], BCSam)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"device": "cuda"}, "computes on the CPU, not on cuda"),
            ({"dtype": "bfloat16"}, "computes in float32, not in bfloat16"),
            ({"refit": True}, "refitted by the torch backend"),
        ],
    )
    def test_what_the_backend_lacks_is_said(self, exported_model, options, message):
        with pytest.raises(ConfigError, match=message):
            load_model(exported_model, backend="onnx", **options)

    def test_an_unknown_backend_is_said(self, exported_model):
        with pytest.raises(ConfigError, match=r"There is no backend 'tensorrt'\. Choose torch or onnx or openvino"):
            load_model(exported_model, backend="tensorrt")

    def test_a_comparison_model_is_refused(self, tmp_path):
        from small_network import small_comparison

        folder = small_comparison("resnet").save_pretrained(tmp_path / "model")
        with pytest.raises(ConfigError, match="the onnx backend computes BC-SAM only"):
            load_model(folder, backend="onnx")


class TestWithoutAnExport:
    def test_it_is_made_once_in_the_cache(self, exported_model, tmp_path, monkeypatch, caplog):
        monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
        caplog.set_level(logging.INFO, "bc_sam")
        folder = shutil.copytree(exported_model, tmp_path / "model", ignore=shutil.ignore_patterns("onnx"))
        relist(folder, **{name: "" for name in load_config(folder).files if name.startswith("onnx/")})
        assert set(load_model(folder, backend="onnx", classifiers="rf").classifiers) == {"rf"}
        model = load_model(folder, backend="onnx")
        assert caplog.text.count("which is done once") == 1
        assert not (folder / "onnx").exists()
        assert set(model.classifiers) == {"logistic", "rf"}
        np.testing.assert_array_equal(
            model.predict_proba(CELLS), load_model(exported_model, backend="onnx").predict_proba(CELLS)
        )


class TestSaving:
    def test_the_export_is_saved_with_the_model(self, pair, tmp_path):
        for model in pair:
            saved = model.save_pretrained(tmp_path / "copy")
            assert json.loads((saved / CONFIG).read_text())["files"][NETWORKS] == hash_file(saved / NETWORKS)
            np.testing.assert_array_equal(
                load_model(saved, backend="onnx").predict_proba(CELLS), pair[1].predict_proba(CELLS)
            )

    def test_the_weights_are_those_that_were_loaded(self, pair, exported_model, tmp_path):
        files = load_config(exported_model).files
        saved = load_config(pair[1].save_pretrained(tmp_path / "copy")).files
        assert {name: saved[name] for name in files if not name.startswith("classifiers/")} == {
            name: digest for name, digest in files.items() if not name.startswith("classifiers/")
        }

    def test_the_weights_may_be_halved(self, pair, exported_model, tmp_path):
        saved = pair[1].save_pretrained(tmp_path / "half", half=True)
        name = "autoencoder/model.safetensors"
        assert (saved / name).stat().st_size < 0.7 * (exported_model / name).stat().st_size
        np.testing.assert_allclose(load_model(saved).embed(CELLS), pair[1].embed(CELLS), atol=0.02)

    def test_it_is_left_out_if_the_classifiers_are_others(self, folder, tmp_path, caplog):
        model = load_model(folder, backend="onnx")
        embeddings = model.embed(CELLS)
        model.fit(embeddings, ["monocyte", "basophil"] * 2 + ["monocyte"], "ours", names=["logistic"])
        indices = model.classifiers["logistic"].predict(embeddings)
        assert model.predict(CELLS) == [model.labels[index] for index in indices]
        saved = model.save_pretrained(tmp_path / "copy")
        assert not (saved / "onnx").exists()
        assert "The export to ONNX is of other weights or classifiers and is left out" in caplog.text


def test_an_export_that_cannot_be_written_leaves_the_former_one(folder):
    with (
        pytest.raises(BCSamError, match=r"could not be written.*The model itself is unchanged"),
        watched(folder, 0, fill_disk),
    ):
        export_to_folder(folder)
    assert load_model(folder, backend="onnx").predict(CELLS[:1])


class TestGraphsThatGiveSomethingElse:
    """A graph may be anybody's: whatever it gives is an error of the model, and never a traceback or a wrong name."""

    @staticmethod
    def of_constants(folder, name, inputs, **outputs):
        """Replaces a graph by one whose outputs are constants."""
        nodes = [helper.make_node("Identity", [f"{output} here"], [output]) for output in outputs]
        values = [numpy_helper.from_array(value, f"{output} here") for output, value in outputs.items()]
        kinds = {output: helper.np_dtype_to_tensor_dtype(value.dtype) for output, value in outputs.items()}
        types = [
            helper.make_tensor_value_info(output, kinds[output], value.shape) for output, value in outputs.items()
        ]
        model = helper.make_model(
            helper.make_graph(nodes, "constants", inputs, types, values),
            opset_imports=[helper.make_opsetid("", 18)],
            ir_version=8,
        )
        helper.set_model_props(model, {FINGERPRINT: fingerprint(load_config(folder))})
        save_model(model, folder / name)
        if name == NETWORKS:
            (folder / SHARED).write_text("{}")
        relist(folder, **{file: hash_file(folder / file) for file in (name, SHARED)})

    @pytest.mark.parametrize(
        ("outputs", "message"),
        [
            (
                {"embeddings": np.zeros((5, 7), np.float32)},
                r"embeddings of float32 \(5, 7\) instead of float32 \(5, 6\)",
            ),
            ({"embeddings": np.zeros((5, 6))}, "embeddings of float64"),
            ({"embeddings": np.zeros(30, np.float32)}, r"embeddings of float32 \(30,\)"),
            ({"mask_logits": np.zeros((5, 5, 5), np.float32)}, r"mask_logits of float32 \(5, 5, 5\)"),
            ({"embedding": np.zeros((5, 6), np.float32)}, "could not be computed"),
        ],
    )
    def test_networks(self, folder, outputs, message):
        pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", IMAGE_SIZE, IMAGE_SIZE, 3])
        self.of_constants(folder, NETWORKS, [pixels], **outputs)
        model = load_model(folder, backend="onnx")
        with pytest.raises(WeightsError, match=message):
            (model.segment if "mask_logits" in outputs else model.embed)(CELLS)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (np.zeros((5, 4), np.float32), r"probabilities of float32 \(5, 4\) instead of float32 \(5, 3\)"),
            (np.full((5, 3), -1, np.float32), "below 0 or above 1"),
        ],
    )
    def test_a_classifier(self, folder, values, message):
        embeddings = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", "d"])
        self.of_constants(folder, "onnx/logistic.onnx", [embeddings], probabilities=values)
        model = load_model(folder, backend="onnx")
        with pytest.raises(WeightsError, match=message):
            model.predict_proba(CELLS, classifier="logistic")

    def test_networks_that_take_all_memory(self, folder, monkeypatch):
        monkeypatch.setattr("bc_sam.models.onnx_backend.session.total_memory", lambda: 2**26)
        path = folder / NETWORKS
        pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", IMAGE_SIZE, IMAGE_SIZE, 3])
        self.of_constants(folder, NETWORKS, [pixels], embeddings=np.zeros((5, 6), np.float32))
        model = load_onnx(path)
        model.graph.node[0].output[0] = "many"
        model.graph.node.append(helper.make_node("Tile", ["many", "times"], ["embeddings"]))
        model.graph.initializer.append(numpy_helper.from_array(np.array([10_000, 1_000]), "times"))
        save_model(model, path)
        relist(folder, **{NETWORKS: hash_file(path)})
        with pytest.raises(WeightsError, match=r"a batch needs more than .* Use a smaller batch size"):
            load_model(folder, backend="onnx").embed(CELLS)


class TestExportsThatAreNotOfThisModel:
    def test_other_weights(self, folder, tmp_path):
        other = small_model(seed=1).save_pretrained(tmp_path / "other")
        shutil.copytree(folder / "onnx", other / "onnx")
        relist(other, **{name: value for name, value in load_config(folder).files.items() if name.startswith("onnx/")})
        with pytest.raises(WeightsError, match="is an export of other weights or classifiers"):
            load_model(other, backend="onnx")

    def test_a_changed_file(self, folder):
        (folder / NETWORKS).write_bytes((folder / NETWORKS).read_bytes() + b" ")
        with pytest.raises(WeightsError, match="its SHA-256 differs"):
            load_model(folder, backend="onnx")

    def test_a_file_that_the_config_does_not_list(self, folder):
        relist(folder, **{name: "" for name in load_config(folder).files if name.startswith("onnx/")})
        with pytest.raises(UntrustedFileError, match=r"does not list onnx/networks\.onnx among its files"):
            load_model(folder, backend="onnx")

    @pytest.mark.parametrize(
        ("content", "error", "message"),
        [
            (b"no graph", UntrustedFileError, "is no complete ONNX file"),
            (b"", WeightsError, "is not a graph that this version of ONNX Runtime can open"),
        ],
    )
    def test_a_listed_file_that_is_no_graph(self, folder, content, error, message):
        (folder / NETWORKS).write_bytes(content)
        relist(folder, **{NETWORKS: hash_file(folder / NETWORKS)})
        with pytest.raises(error, match=message):
            load_model(folder, backend="onnx")

    def test_a_listed_file_that_refers_to_others(self, folder):
        (folder / NETWORKS).write_bytes((folder / NETWORKS).read_bytes() + b"location")
        relist(folder, **{NETWORKS: hash_file(folder / NETWORKS)})
        with pytest.raises(UntrustedFileError, match="refers to other files"):
            load_model(folder, backend="onnx")

    def test_a_listed_file_that_is_far_larger_than_the_model(self, folder):
        with (folder / NETWORKS).open("r+b") as file:
            file.truncate(2**28)  # zeros that take no room on the disk
        relist(folder, **{NETWORKS: hash_file(folder / NETWORKS)})
        with pytest.raises(UntrustedFileError, match="more than an export of this model can have"):
            load_model(folder, backend="onnx")
