"""Memory of the encoder at 1024 px, compared with transformers: python benchmarks/attention_memory.py."""

import argparse
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import torch
from models import with_library_attention
from timing import machine, print_table
from transformers import SamConfig, SamModel

from bc_sam.networks.sam.attention import use_fused_bias_attention
from bc_sam.networks.sam.encoding import encode

IMPLEMENTATIONS = ("transformers, eager", "transformers, sdpa", "bc_sam")


def main() -> None:
    """Encodes one image with each implementation, each in its own process, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    options = parser.parse_args()
    rows = []
    for implementation in IMPLEMENTATIONS:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            idle, peak, seconds = pool.submit(encode_one, implementation, options.size).result()
        rows.append((implementation, f"{idle:.0f}", f"{peak - idle:.0f}", f"{seconds:.1f}"))
    print(f"One image of {options.size} px, SAM ViT-B with random weights, bfloat16. {machine()}")
    print_table(("attention", "model loaded, MiB", "on top of the model, MiB", "seconds"), rows)


def encode_one(implementation: str, size: int) -> tuple[float, float, float]:
    """Returns the memory before encoding and at the peak (MiB), and the seconds."""
    config = SamConfig()
    config.vision_config.image_size = size
    with torch.device("meta"):
        sam = SamModel(config)
    sam = sam.to(torch.bfloat16).to_empty(device="cuda" if torch.cuda.is_available() else "cpu").eval()
    for parameter in sam.parameters():
        parameter.data.normal_(std=0.02)
    if implementation == "bc_sam":
        sam = use_fused_bias_attention(sam)
    else:
        sam = with_library_attention(sam, eager="eager" in implementation)
    image = torch.zeros(1, 3, size, size, dtype=torch.bfloat16, device=sam.device)
    idle, start = memory(), time.perf_counter()
    with torch.inference_mode():
        encode(sam, image)
    return idle, memory(), time.perf_counter() - start


def memory() -> float:
    """Returns the peak memory so far in MiB, of the GPU if there is one, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
