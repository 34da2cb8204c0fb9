import pytest
import torch

from bc_sam.errors import ConfigError
from bc_sam.networks.precision import dtype_of, precision_of, resolve_precision

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda", "mps"))


@pytest.mark.parametrize("device", [CPU, CUDA, MPS], ids=str)
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_an_explicit_precision_is_kept_on_every_device(precision, device):
    assert resolve_precision(precision, device) == precision


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, "bf16"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16"),
        ({"avx512_bf16": False, "avx2": True}, "no"),
        ({}, "no"),
    ],
)
def test_auto_is_bf16_on_a_cpu_with_bf16_instructions(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_precision("auto", CPU) == expected


def test_auto_is_full_precision_where_torch_cannot_tell_what_a_cpu_can_do(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert resolve_precision("auto", CPU) == "no"


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16"), (False, "fp16")])
def test_auto_is_half_precision_on_a_gpu(monkeypatch, supported, expected):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert resolve_precision("auto", CUDA) == expected


def test_auto_is_full_precision_on_other_devices():
    assert resolve_precision("auto", MPS) == "no"


@pytest.mark.parametrize(("precision", "dtype"), [("no", torch.float32), ("bf16", torch.bfloat16)])
def test_a_precision_has_a_weight_dtype(precision, dtype):
    assert dtype_of(precision, CPU) == dtype


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float32", "no"),
        (torch.float32, "no"),
        ("bfloat16", "bf16"),
        (torch.bfloat16, "bf16"),
        (torch.float16, "fp16"),
        ("auto", "auto"),
    ],
)
def test_a_dtype_may_be_a_string_or_a_torch_dtype(dtype, expected):
    assert precision_of(dtype) == expected


@pytest.mark.parametrize("dtype", [torch.int8, "fast", ""])
def test_an_unsupported_dtype_is_refused(dtype):
    with pytest.raises(ConfigError, match="Unsupported dtype"):
        precision_of(dtype)
