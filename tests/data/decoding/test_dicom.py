"""DICOM images of a single frame are read as RGB, whatever colours and bits the file holds; others are refused."""

import io

import numpy as np
import pytest
from PIL import Image

from bc_sam.data.appearance.resolution_tags import read_resolution_tag
from bc_sam.data.images import read_image
from bc_sam.errors import ImageError

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import (  # noqa: E402
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    VLMicroscopicImageStorage,
)


def drawn():
    y, x = np.mgrid[:48, :40]
    return np.stack([200 - y, 60 + x * 2, 90 + y * 2], axis=2).astype(np.uint8)


def dicom(pixels, kind="RGB", *, bits=8, stored=None, syntax=ExplicitVRLittleEndian, size=None, **more):
    """The bytes of a VL microscopic image; `pixels` is an array, or the bytes of one encoded frame."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = VLMicroscopicImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality = "GM"
    dataset.Rows, dataset.Columns = size or (48, 40)
    dataset.SamplesPerPixel = 1 if kind.startswith(("MONO", "PALETTE")) else 3
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = kind
    dataset.BitsAllocated, dataset.BitsStored = bits, stored or bits
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    for name, value in more.items():
        setattr(dataset, name, value)
    if pixels is not None:
        dataset.PixelData = encapsulate([pixels]) if isinstance(pixels, bytes) else pixels.tobytes()
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def jpeg(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=98, subsampling="4:2:2")
    return file.getvalue()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_rgb(syntax):
    assert np.array_equal(read_image(dicom(drawn(), syntax=syntax)), drawn())


def test_planes_apart():
    assert np.array_equal(read_image(dicom(np.moveaxis(drawn(), -1, 0).copy(), PlanarConfiguration=1)), drawn())


@pytest.mark.parametrize("kind", ["YBR_FULL_422", "RGB"])
def test_jpeg_is_not_converted_twice(kind):
    if kind == "RGB":
        file = io.BytesIO()
        Image.fromarray(drawn()).save(file, "JPEG", quality=98, keep_rgb=True)
        content = file.getvalue()
    else:
        content = jpeg(Image.fromarray(drawn()))
    read = np.asarray(read_image(dicom(content, kind, syntax=JPEGBaseline8Bit)), int)
    assert np.abs(read - drawn()).max() <= 6


def test_uncompressed_ybr_is_converted():
    ybr = np.asarray(Image.fromarray(drawn()).convert("YCbCr"))
    assert np.abs(np.asarray(read_image(dicom(ybr, "YBR_FULL")), int) - drawn()).max() <= 3


def test_run_length_encoding():
    dataset = pydicom.dcmread(io.BytesIO(dicom(drawn())))
    dataset.compress(RLELossless)
    file = io.BytesIO()
    dataset.save_as(file)
    assert np.array_equal(read_image(file.getvalue()), drawn())


@pytest.mark.parametrize(("bits", "stored"), [(8, 8), (16, 12), (16, 16)])
def test_grey_values_are_scaled_by_the_bits_that_the_file_states(bits, stored):
    values = np.arange(48 * 40).reshape(48, 40) * ((1 << stored) - 1) // (48 * 40 - 1)
    expected = values >> (stored - 8)
    for kind, right in (("MONOCHROME2", expected), ("MONOCHROME1", 255 - expected)):
        content = dicom(values.astype(f"u{bits // 8}"), kind, bits=bits, stored=stored)
        assert np.abs(np.asarray(read_image(content), int)[..., 0] - right).max() == 0


def test_a_palette_is_applied():
    ramp = np.arange(256, dtype=np.uint16) * 257
    palette = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour, table in (("Red", ramp), ("Green", ramp[::-1]), ("Blue", ramp // 2))
        for part, value in (("Descriptor", [256, 0, 16]), ("Data", table.tobytes()))
    }
    index = drawn()[..., 0]
    expected = np.stack([index, 255 - index, index // 2], axis=2)
    read = np.asarray(read_image(dicom(index, "PALETTE COLOR", **palette)), int)
    assert np.abs(read - expected).max() <= 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: dicom(drawn(), NumberOfFrames=3), "is a DICOM file of 3 frames. Export the frame of one cell"),
        (lambda: dicom(drawn(), "YBR_PARTIAL_420"), "pixels of kind YBR_PARTIAL_420. Convert it to RGB"),
        (lambda: dicom(drawn(), PixelRepresentation=1), "signed values"),
        (lambda: dicom(None, size=(30_000, 30_000)), "has 30000 x 30000 pixels, more than"),
        (lambda: dicom(drawn(), syntax=DeflatedExplicitVRLittleEndian), "is a deflated DICOM file"),
        (lambda: dicom(drawn()[:20]), "is damaged or incomplete"),
        (lambda: dicom(b"no jpeg", "RGB", syntax=JPEGBaseline8Bit), "is damaged or incomplete"),
    ],
)
def test_others_are_refused_by_name(tmp_path, content, message):
    path = tmp_path / "cell.dcm"
    path.write_bytes(content())
    with pytest.raises(ImageError, match=rf"cell\.dcm .*{message}"):
        read_image(path)


def shared(spacing):
    measures = pydicom.Dataset()
    measures.PixelSpacing = spacing
    group = pydicom.Dataset()
    group.PixelMeasuresSequence = [measures]
    return [group]


@pytest.mark.parametrize(
    ("tags", "microns"),
    [
        ({"PixelSpacing": [0.0001, 0.0001]}, 0.1),
        ({"SharedFunctionalGroupsSequence": shared([0.00008, 0.00008])}, 0.08),
        ({"ImagerPixelSpacing": [0.0002, 0.0002]}, 0.2),
        ({"ImagerPixelSpacing": [0.003, 0.003], "PixelSpacing": [0.0001, 0.0001]}, 0.1),
        ({"PixelSpacing": [0.0001, 0.0002]}, None),
        ({"PixelSpacing": [0, 0]}, None),
        ({}, None),
    ],
)
def test_the_pixel_spacing_is_the_pixel_size(tags, microns):
    tag = read_resolution_tag(dicom(drawn(), **tags))
    assert (tag and tag.microns_per_pixel) == (microns and pytest.approx(microns))


def test_a_damaged_header_states_no_pixel_size():
    assert read_resolution_tag(dicom(drawn(), PixelSpacing=[0.0001, 0.0001])[:200]) is None
