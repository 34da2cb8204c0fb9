"""The header of a safetensors file tells its data types."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from bc_sam.utils.safetensors_header import holds_half


@pytest.mark.parametrize(("dtype", "expected"), [(np.float16, True), (np.float32, False), (np.int64, False)])
def test_float16_is_recognized(dtype, expected, tmp_path):
    save_file({"a": np.zeros(2, np.float32), "b": np.zeros(2, dtype)}, tmp_path / "weights.safetensors")
    assert holds_half(tmp_path / "weights.safetensors") is expected
