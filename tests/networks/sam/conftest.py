"""Fixtures for the tests of `bc_sam.networks.sam`: the small SAM of `tests/parity`, and a blocked network."""

import copy
import socket

import parity_weights
import pytest
import torch

from bc_sam.networks.sam.resizing import resize_sam
from bc_sam.networks.sam.segment_anything import sam_from_original


@pytest.fixture(scope="session")
def original_state():
    """The SAM checkpoint of the parity files, with the original's names, at 1024 px."""
    return parity_weights.state("sam_tiny_original_keys.json")


@pytest.fixture(scope="session")
def original_lora():
    """The LoRA tensors of the parity files, with the original's names."""
    return parity_weights.state("lora_original_keys.json", scale=0.3)


@pytest.fixture(scope="session")
def expected():
    """The outputs of the original with both."""
    return {name: torch.from_numpy(array) for name, array in parity_weights.expected("sam_tiny_expected.npz").items()}


@pytest.fixture(scope="session")
def sam_1024(original_state):
    return sam_from_original(original_state)


@pytest.fixture
def sam(sam_1024):
    """A copy resized to 224 px, which tests may modify."""
    return copy.deepcopy(resize_sam(sam_1024, 224))


@pytest.fixture(scope="session")
def sam_folder(sam_1024, tmp_path_factory):
    """The 1024 px model as `transformers` saves it."""
    folder = tmp_path_factory.mktemp("sam_1024")
    sam_1024.save_pretrained(folder)
    return folder


@pytest.fixture
def no_network(monkeypatch):
    def refuse(self, address):
        raise AssertionError(f"network access: {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
