import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bc_sam.data.batches import decoded_batches
from bc_sam.errors import ConfigError, ImageError

SIZE = 16


def grey(level):
    return np.full((4, 5, 3), level, dtype=np.uint8)


@settings(max_examples=30)
@given(st.lists(st.booleans(), max_size=20), st.integers(1, 7))
def test_images_and_errors_keep_their_order(readable, batch_size):
    images = [grey(level) if good else f"absent_{level}.png" for level, good in enumerate(readable)]
    batches = list(decoded_batches(iter(images), SIZE, batch_size))
    assert [len(batch.sources) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    sources = [source for batch in batches for source in batch.sources]
    assert all(given is source for given, source in zip(images, sources, strict=True))
    errors = [error for batch in batches for error in batch.errors]
    assert [error is None for error in errors] == readable
    assert all(source in str(error) for source, error in zip(sources, errors, strict=True) if error is not None)
    levels = [level for batch in batches for level in batch.pixels[:, 0, 0, 0].tolist()]
    assert levels == [level for level, good in enumerate(readable) if good]


def test_pixels_are_resized_and_original_sizes_are_kept(tmp_path):
    Image.new("L", (30, 20), 9).save(tmp_path / "cell.png")
    (batch,) = decoded_batches([tmp_path / "cell.png", b"no image", grey(7)], SIZE, 8)
    assert batch.sizes == [(20, 30), (4, 5)]
    assert batch.pixels.shape == (2, SIZE, SIZE, 3)
    assert batch.pixels.dtype == np.uint8
    assert isinstance(batch.errors[1], ImageError)


def test_a_batch_without_readable_images_has_no_pixels():
    (batch,) = decoded_batches([b"", b"x"], SIZE, 8)
    assert batch.pixels.shape == (0, SIZE, SIZE, 3)
    assert batch.sizes == []


def test_exactly_one_batch_is_prefetched():
    consumed = 0

    def stream():
        nonlocal consumed
        while True:
            consumed += 1
            yield grey(0)

    batches = decoded_batches(stream(), SIZE, batch_size=3)
    assert consumed == 0
    for n in range(1, 4):
        next(batches)
        assert consumed == 3 * (n + 1)
    batches.close()


def test_an_error_of_the_stream_propagates():
    def stream():
        yield grey(0)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(decoded_batches(stream(), SIZE, 1))


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_rejected(batch_size):
    with pytest.raises(ConfigError, match=f"batch_size must be positive, but is {batch_size}"):
        list(decoded_batches([grey(0)], SIZE, batch_size))
