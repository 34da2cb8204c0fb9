"""With OpenVINO a model gives the answers of ONNX Runtime, from the same export."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from small_model import IMAGE_SIZE

from bc_sam import BCSam, load_model
from bc_sam.errors import ConfigError, UntrustedFileError, WeightsError
from bc_sam.models.folder import CONFIG, hash_file, load_config, write_config

CELLS = list(np.random.default_rng(0).integers(0, 256, (5, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8))
NETWORKS = "onnx/networks.onnx"


def test_a_missing_openvino_is_named_with_its_extra(exported_model):
    # In another process, in which nothing of that name can be imported.
    code = (
        "import sys; sys.modules['openvino'] = None\n"
        "from bc_sam import BCSam\n"
        f"BCSam.from_pretrained({str(exported_model)!r}, backend='openvino')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert 'openvino is not installed. Run: pip install "bc_sam[openvino]"' in result.stderr


def test_another_device_is_refused_without_openvino(exported_model):
    with pytest.raises(ConfigError, match="openvino backend computes on the CPU, not on cuda"):
        load_model(exported_model, backend="openvino", device="cuda")


def test_another_data_type_is_refused_without_openvino(exported_model):
    with pytest.raises(ConfigError, match="computes in bfloat16 or float32, not in float16"):
        load_model(exported_model, backend="openvino", dtype="float16")


@pytest.fixture(scope="module")
def openvino():
    if find_spec("openvino") is None:
        pytest.skip("needs the extra openvino")


@pytest.fixture(scope="module")
def pair(exported_model, openvino):
    """The same model with ONNX Runtime and with OpenVINO in float32."""
    return [load_model(exported_model, backend=name, dtype="float32") for name in ("onnx", "openvino")]


class TestTheSameAnswers:
    @pytest.mark.parametrize("n", [1, 2, 5])
    def test_embeddings_of_any_number_of_cells(self, pair, n):
        one, other = (model.embed(CELLS[:n]) for model in pair)
        np.testing.assert_allclose(one, other, atol=1e-5)

    def test_probabilities(self, pair):
        one, other = (model.predict_proba(CELLS, classifier="logistic") for model in pair)
        np.testing.assert_allclose(one, other, atol=1e-5)

    def test_masks(self, pair):
        for one, other in zip(*(model.segment(CELLS) for model in pair), strict=True):
            assert (one == other).mean() > 0.999

    def test_bfloat16_rounds(self, pair, exported_model):
        rounded = BCSam.from_pretrained(exported_model, backend="openvino", dtype="bfloat16").embed(CELLS)
        exact = pair[0].embed(CELLS)
        assert np.linalg.norm(rounded - exact) < 0.05 * np.linalg.norm(exact)

    def test_what_computes_is_shown(self, pair):
        assert "cpu, OpenVINO" in repr(pair[1])


def test_nothing_is_reported_to_its_makers(exported_model, openvino, tmp_path):
    """OpenVINO's telemetry writes an id into the home folder before it sends anything."""
    code = f"from bc_sam import BCSam; BCSam.from_pretrained({str(exported_model)!r}, backend='openvino')"
    home = {**os.environ, "HOME": str(tmp_path), "CI": ""}  # it is silent on a CI server
    subprocess.run([sys.executable, "-c", code], check=True, env=home)
    assert not (tmp_path / "intel").exists()


class TestWhatItOpens:
    def test_files_that_name_others_are_refused_before(self, exported_model, tmp_path, openvino):
        folder = _with_networks(exported_model, tmp_path, lambda content: content + b"location/etc/passwd")
        with pytest.raises(UntrustedFileError, match="refers to other files"):
            load_model(folder, backend="openvino")

    def test_exports_of_other_weights_are_refused(self, exported_model, tmp_path, openvino):
        folder = _with_networks(
            exported_model, tmp_path, lambda content: content.replace(b"bc_sam.fing", b"bc_sam.ring")
        )
        with pytest.raises(WeightsError, match="other weights or classifiers"):
            load_model(folder, backend="openvino")

    def test_what_is_no_graph_is_refused(self, exported_model, tmp_path, openvino):
        folder = _with_networks(exported_model, tmp_path, lambda content: b"\xff" * 40 + content)
        with pytest.raises(WeightsError, match="not a graph that this version of OpenVINO can open"):
            load_model(folder, backend="openvino")


def _with_networks(model, tmp_path, change):
    """Returns a copy of a model with changed networks, listed in its config as whoever changes them would."""
    folder = shutil.copytree(model, tmp_path / "model")
    path = folder / NETWORKS
    path.write_bytes(change(path.read_bytes()))
    config = load_config(folder)
    config.files[NETWORKS] = hash_file(path)
    write_config(config, folder / CONFIG)
    return folder
