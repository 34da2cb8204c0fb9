"""Malicious model folders are rejected by file name, without executing code or accessing anything outside."""

import io
import json
import os
import pickle
import shutil
import socket
import subprocess
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hostile import (
    Touch,
    lengthen_the_support,
    node,
    nodes,
    npy,
    point_a_booster_outside,
    point_a_tree_outside,
    rewrite_skops,
    safetensors,
)
from small_model import small_model

from bc_sam import BCSam
from bc_sam.classifiers.kinds import KINDS
from bc_sam.classifiers.ood import OodScore
from bc_sam.classifiers.thumbnails import draw_thumbnail, save_thumbnails
from bc_sam.errors import BCSamError, ConfigError, UntrustedFileError, WeightsError
from bc_sam.models.folder import hash_files

WEIGHTS = ("adapter/adapter_model.safetensors", "autoencoder/model.safetensors", "base/model.safetensors")
LATENTS = "classifiers/reference.safetensors"
PICTURES = "classifiers/thumbnails.safetensors"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A sound model with every kind of classifier, and the same with one that loads in no time."""
    folder = tmp_path_factory.mktemp("sound")
    model = small_model(classifiers=("logistic", *(name for name in KINDS if name != "logistic")))
    model.save_pretrained(folder / "whole")
    model.classifiers = {"logistic": model.classifiers["logistic"]}
    model.save_pretrained(folder / "light")
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy of a valid model, to be corrupted."""
    return shutil.copytree(saved / "light", tmp_path / "model")


@pytest.fixture
def with_all(saved, tmp_path):
    """A copy of the sound model with every kind of classifier."""
    return shutil.copytree(saved / "whole", tmp_path / "model")


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path, monkeypatch):
    """Fails a test in which a program or a connection is started, or anything beside the model changes."""

    def refuse(*arguments, **options):
        raise AssertionError(f"ran {arguments}")

    for module, name in ((os, "system"), (os, "popen"), (subprocess, "Popen"), (socket.socket, "connect")):
        monkeypatch.setattr(module, name, refuse)
    (tmp_path / "outside.txt").write_text("private")
    yield
    assert {path.name for path in tmp_path.iterdir()} <= {"model", "outside.txt", "elsewhere"}
    assert (tmp_path / "outside.txt").read_text() == "private"


def vouch(folder):
    """Makes ``config.json`` vouch for the files as they are now, as its author can."""
    configure(folder, files=hash_files(folder))


def configure(folder, file="config.json", **changes):
    settings = json.loads((folder / file).read_text())
    settings.pop("digest", None)  # as in a model of an earlier version
    (folder / file).write_text(json.dumps(settings | changes))


def refused(folder, message, error=BCSamError):
    vouch(folder)
    with pytest.raises(error, match=message):
        BCSam.from_pretrained(folder, device="cpu")


def spoil_classifier(folder, name, change):
    path = folder / "classifiers" / f"{name}.skops"
    rewrite_skops(path, path, change)


def test_the_sound_model_loads(with_all):
    vouch(with_all)
    assert set(BCSam.from_pretrained(with_all, device="cpu").classifiers) == set(KINDS)


@pytest.mark.parametrize("name", [*WEIGHTS, "classifiers/logistic.skops", "adapter/adapter_config.json"])
def test_a_changed_part_is_rejected_unopened(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name} is not the file that was saved"):
        BCSam.from_pretrained(folder, device="cpu")


class TestClassifiers:
    @pytest.mark.parametrize("name", KINDS)
    @pytest.mark.parametrize(
        ("module", "type_name"),
        [("subprocess", "Popen"), ("sklearn.cluster._kmeans", "KMeans")],
        ids=["foreign", "known"],
    )
    def test_a_type_that_it_has_no_need_of(self, with_all, name, module, type_name):
        content = node(
            "DictNode", "builtins", "dict", content={}, key_types=node("ListNode", "builtins", "list", content=[])
        )
        spoil_classifier(
            with_all,
            name,
            lambda m: m["schema.json"].update(more=node("ObjectNode", module, type_name, content=content)),
        )
        refused(with_all, rf"{name}\.skops holds types .*{module}\.{type_name}", UntrustedFileError)

    @pytest.mark.parametrize("name", KINDS)
    def test_a_renamed_pickle(self, with_all, tmp_path, name):
        (with_all / "classifiers" / f"{name}.skops").write_bytes(pickle.dumps(Touch(tmp_path / "it_ran")))
        refused(with_all, rf"{name}\.skops is not a valid .*pickles are not read", WeightsError)

    def test_a_pickle_inside_an_array(self, with_all, tmp_path):
        stream = io.BytesIO()
        np.save(stream, np.array([Touch(tmp_path / "it_ran")], dtype=object), allow_pickle=True)
        spoil_classifier(
            with_all, "ann", lambda m: m.update({name: stream.getvalue() for name in m if name.endswith(".npy")})
        )
        refused(with_all, r"ann\.skops is not a valid", WeightsError)

    @pytest.mark.parametrize(
        ("name", "spoil"),
        [("rf", point_a_tree_outside), ("svm_poly", lengthen_the_support), ("xgboost", point_a_booster_outside)],
    )
    def test_indices_out_of_range(self, with_all, name, spoil):
        spoil_classifier(with_all, name, spoil)
        refused(with_all, rf"{name}\.skops is not a valid", WeightsError)

    def test_one_kind_in_the_place_of_another(self, with_all):
        shutil.copy(with_all / "classifiers" / "svm_rbf.skops", with_all / "classifiers" / "svm_poly.skops")
        refused(with_all, r"svm_poly\.skops is not a valid .*another kernel", WeightsError)

    def test_a_zip_bomb_takes_neither_time_nor_memory(self, with_all):
        path = with_all / "classifiers" / "logistic.skops"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("schema.json", bytes(10**6))
            archive.infolist()[0].file_size = 2**40
        assert path.stat().st_size < 2000
        tracemalloc.start()
        refused(with_all, r"logistic\.skops would grow from \d+ to 1099511627776 bytes", UntrustedFileError)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100e6

    def test_an_array_that_announces_terabytes(self, with_all):
        def announce(members):
            file = next(nodes(members["schema.json"], "NdArrayNode"))["file"]
            members[file] = npy(np.zeros(1), (10**12,))

        spoil_classifier(with_all, "logistic", announce)
        refused(with_all, r"logistic\.skops is not a valid .*not a numeric array", WeightsError)


class TestPictures:
    """Pictures of stored cells."""

    @pytest.fixture
    def model_folder(self, tmp_path):
        model = small_model(classifiers=("logistic",))
        drawn = tuple(draw_thumbnail(np.full((64, 64, 3), row, np.uint8)) for row in range(60))
        model.reference = replace(model.reference, thumbnails=drawn)
        return model.save_pretrained(tmp_path / "model")

    def test_come_with_the_model(self, model_folder):
        assert BCSam.from_pretrained(model_folder, device="cpu").n_thumbnails == {"north": 30, "south": 30}
        assert BCSam.from_pretrained(model_folder, device="cpu", refit=True).n_thumbnails == {"north": 30, "south": 30}

    def test_changed_ones_are_rejected_unopened(self, model_folder):
        with (model_folder / PICTURES).open("ab") as file:
            file.write(b"more")
        with pytest.raises(WeightsError, match=rf"{PICTURES} is not the file that was saved"):
            BCSam.from_pretrained(model_folder, device="cpu")

    def test_of_fewer_cells_than_there_are(self, model_folder):
        save_thumbnails([b""] * 59, model_folder / PICTURES)
        refused(model_folder, "does not fit the 60 reference cells", WeightsError)

    def test_that_are_something_else_are_never_shown(self, model_folder):
        save_thumbnails([b"<script>"] * 60, model_folder / PICTURES)
        vouch(model_folder)
        scale = OodScore(BCSam.from_pretrained(model_folder, device="cpu").reference)
        with pytest.raises(WeightsError, match=r"cell \d+ is not a JPEG"):
            scale.nearest(scale.reference.latents[0])


class TestWeights:
    @pytest.mark.parametrize("file", [*WEIGHTS, LATENTS])
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x80\x04.",
            safetensors({}, announced=2**63),
            safetensors({}, announced=10**8),
            safetensors(b"[" * 10**5),
            safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
            safetensors({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}),
            safetensors({"a": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}}),
            safetensors({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
            safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, bytes(4)),
            safetensors({"a": {"dtype": "EVIL", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
            safetensors({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, bytes(4)),
            safetensors({"latents": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)),
            safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        ],
        ids=[
            "empty", "pickle", "header of exabytes", "header beyond the file", "deep header", "no data", "terabytes",
            "overflow", "other type", "backwards", "no type", "overlapping", "no numpy type", "another tensor",
        ],
    )  # fmt: skip
    def test_a_header_that_lies(self, folder, file, content):
        (folder / file).write_bytes(content)
        refused(folder, file.split("/")[0], WeightsError)

    @pytest.mark.parametrize("file", WEIGHTS)
    @pytest.mark.parametrize("kind", ["I64", "BOOL"])
    def test_tensors_that_are_no_real_numbers(self, folder, file, kind):
        from safetensors.numpy import load_file, save_file

        tensors = load_file(folder / file)
        dtype = {"I64": np.int64, "BOOL": np.bool_}[kind]
        save_file({name: tensor.astype(dtype) for name, tensor in tensors.items()}, folder / file)
        refused(folder, file.split("/")[0], WeightsError)

    def test_a_pickle_instead_of_the_adapter(self, folder, tmp_path):
        (folder / "adapter" / "adapter_model.safetensors").unlink()
        (folder / "adapter" / "adapter_model.bin").write_bytes(pickle.dumps(Touch(tmp_path / "it_ran")))
        refused(folder, r"adapter_model\.safetensors")


class TestAdapterConfig:
    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("megatron_core", "subprocess"),
            ("target_modules", "(a+)+$"),
            ("layer_replication", [[0, 2], [0, 2]]),
            ("auto_mapping", {"base_model_class": "Popen", "parent_library": "subprocess"}),
            ("use_dora", True),
        ],
    )
    def test_an_option_that_peft_would_act_on(self, folder, option, value):
        configure(folder, "adapter/adapter_config.json", **{option: value})
        refused(folder, rf"adapter_config\.json .*'{option}' is", UntrustedFileError)

    def test_a_rank_of_terabytes(self, folder):
        configure(folder, "adapter/adapter_config.json", r=10**9, lora_alpha=10**9)
        refused(folder, r"adapter_config\.json: r must be 1 to 64", WeightsError)


class TestBase:
    @pytest.mark.parametrize("settings", [{"model_type": "evil"}, {"vision_config": None}, {"vision_config": []}])
    def test_a_configuration_that_is_no_sams(self, folder, settings):
        configure(folder, "base/config.json", **settings)
        refused(folder, "base", WeightsError)

    @pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers", "image_size", "mlp_dim", "window_size"])
    def test_an_absurd_size(self, folder, name):
        vision = json.loads((folder / "base/config.json").read_text())["vision_config"]
        configure(folder, "base/config.json", vision_config=vision | {name: 10**9})
        refused(folder, rf"base .*{name} is out of range", WeightsError)

    @pytest.mark.parametrize(
        "settings",
        [
            {"attn_implementation": "someone/kernel"},
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            {"auto_map": {"AutoModel": "someone/model--modeling.Model"}},
            {"transformers_weights": "../../outside.txt"},
        ],
    )
    def test_what_would_fetch_or_run_code_has_no_effect(self, folder, settings):
        configure(folder, "base/config.json", **settings)
        (folder / "base" / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
        vouch(folder)
        assert BCSam.from_pretrained(folder, device="cpu").classifiers


class TestConfig:
    @pytest.mark.parametrize(
        "changes",
        [
            {"classifiers": {"../../outside": [0, 3, 7]}},
            {"classifiers": {"/etc/passwd": [0, 3, 7]}},
            {"classifiers": {"os.system": [0, 3, 7]}},
            {"classifiers": {"another": [0, 3, 7]}},
            {"classifiers": {"logistic": [0, 3, 10**9]}},
            {"classifiers": {"logistic": [7, 3, 0]}},
            {"classifiers": {"logistic": [-1, 3, 7]}},
            {"classifiers": {"logistic": []}},
            {"classifiers": {"logistic": list(range(10**6))}},
            {"base": "../../elsewhere"},
            {"base": "/etc"},
            {"base": "file:///etc"},
            {"base": "tiny"},
            {"base": None, "base_inside": False},
            {"base_revision": "../../x", "base": "someone/sam", "base_inside": False},
            {"image_size": 10**6},
            {"image_size": 0},
            {"image_size": -16},
            {"image_size": 63},
            {"image_mean": [float("nan")] * 3},
            {"image_std": [0, 0, 0]},
            {"image_std": [float("inf")] * 3},
            {"latent_dim": 10**9},
            {"latent_dim": 0},
            {"feature_channels": 10**9},
            {"feature_channels": 33},
            {"decoder_channels": [10**9] * 7},
            {"decoder_channels": [8] * 6},
            {"decoder_channels": [8] * 10**6},
            {"labels": []},
            {"labels": ["same", "same"]},
            {"labels": [str(number) for number in range(10**6)]},
            {"labels": "monocyte"},
            {"labels": [["monocyte"]]},
            {"mask_tokens": "three"},
            {"format_version": 10**9},
            {"files": {"../outside.txt": "0" * 64}},
            {"files": {"/etc/passwd": "0" * 64}},
            {"files": []},
            {"unknown": 1},
        ],
        ids=lambda changes: ",".join(f"{key}={str(value)[:24]}" for key, value in changes.items()),
    )  # fmt: skip
    def test_what_climbs_out_or_is_absurd(self, folder, changes):
        vouch(folder)
        configure(folder, **changes)
        with pytest.raises(BCSamError, match=r"config\.json|/model|image_size") as caught:
            BCSam.from_pretrained(folder, device="cpu", local_files_only=True)
        assert len(str(caught.value)) < 5000

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", "[" * 10**5, '{"labels": NaN}', "\xff"])
    def test_what_is_no_configuration(self, folder, content):
        (folder / "config.json").write_text(content, "latin-1")
        with pytest.raises((ConfigError, WeightsError), match=r"config\.json"):
            BCSam.from_pretrained(folder, device="cpu")


class TestLinks:
    """A link is judged by what it leads to: the Hub's cache is made of links into a folder of blobs."""

    def test_a_cache_of_links_is_a_model(self, folder, tmp_path):
        vouch(folder)
        blobs = tmp_path / "elsewhere"
        blobs.mkdir()
        for number, path in enumerate([path for path in folder.rglob("*") if path.is_file()]):
            path.rename(blobs / str(number))
            path.symlink_to(blobs / str(number))
        assert BCSam.from_pretrained(folder, device="cpu").classifiers

    @pytest.mark.parametrize("target", ["outside.txt", "/dev/zero", "/etc/hostname", "model/classifiers"])
    @pytest.mark.parametrize("name", ["classifiers/logistic.skops", "autoencoder/model.safetensors", "config.json"])
    def test_a_link_to_anything_else_is_refused_unopened(self, folder, tmp_path, name, target):
        vouch(folder)
        (folder / name).unlink()
        (folder / name).symlink_to(tmp_path / target)
        with pytest.raises(BCSamError, match=name):
            BCSam.from_pretrained(folder, device="cpu")
