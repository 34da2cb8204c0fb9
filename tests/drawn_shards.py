"""Writes shards of drawn cells: parquet, and tars of WebDataset."""

import io
import tarfile
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, Image, Value
from drawn_smear import draw_smear
from PIL import Image as PillowImage

from bc_sam.data.images import encode_png

CLASSES = ["EOS", "MON"]  # of another order than the labels of models


def smear(seed):
    """The file of a drawn smear, whose name is its seed in the tests."""
    return encode_png(PillowImage.fromarray(draw_smear(60, 20, white_cell=30, seed=seed)))


def write_parquet(path, seeds, *, bad=()):
    """Writes one cell for each seed, with a slide of every two, and no image where it is bad."""
    images = [{"bytes": b"no image" if seed in bad else smear(seed), "path": None} for seed in seeds]
    columns = {
        "image": images,
        "label": [seed % 2 for seed in seeds],
        "patient": [f"slide {seed // 2}" for seed in seeds],
        "file": [f"{seed}.png" for seed in seeds],
    }
    kinds = {"image": Image(), "label": ClassLabel(names=CLASSES), "patient": Value("string"), "file": Value("string")}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(columns, features=Features(kinds)).to_parquet(path)


def write_tar(path, seeds):
    """Writes one sample for each seed: an image, its class as a number, and a mask."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    mask = encode_png(PillowImage.new("L", (60, 60), 1))
    with tarfile.open(path, "w") as archive:
        for seed in seeds:
            for suffix, content in ((".png", smear(seed)), (".cls", b"%d" % (seed % 2)), (".mask.png", mask)):
                member = tarfile.TarInfo(f"slide_{seed // 2}/{seed}{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
