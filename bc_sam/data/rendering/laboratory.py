"""Image formation of a laboratory: Beer-Lambert stain absorption, illumination, optics, sensor and file format."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from bc_sam.data.rendering.shapes import Array, Frame, Range

Colour = tuple[float, float, float]

#: Stained matter, in the order of a smear's first axis: DNA and azurophilic granules; RNA, which makes cytoplasm blue;
#: proteins of eosinophilic granules; haemoglobin.
MATTER = ("chromatin", "rna", "eosinophilic", "haemoglobin")
CHROMATIN, RNA, EOSINOPHILIC, HAEMOGLOBIN = range(len(MATTER))

#: Standard deviation of the unsharp mask's blur, micrometres.
_SHARPENING_RADIUS = 0.22


@dataclass(frozen=True)
class Laboratory:
    """Stain, microscope and camera of one laboratory.

    Absorptions are optical densities (natural logarithm, RGB) at unit concentration.

    Attributes:
        light: Colour of the empty slide, 0..255.
        chromatin: Absorption of stained chromatin.
        rna: Absorption of stained RNA.
        eosinophilic: Absorption of stained eosinophilic protein.
        haemoglobin: Absorption of a red cell at its thickest point.
        width: Side of the field of view, micrometres, which sets the magnification.
        crowding: Target density of red cells, per 100 square micrometres.
        focus: Range over cells of the standard deviation of the blur, micrometres.
        sharpening: Strength of the camera's unsharp mask; 0 disables it.
        vignetting: Fraction of the light missing in the corners.
        noise: Standard deviation of the sensor noise, grey levels of 255.
        jpeg_quality: JPEG quality; ``None`` for a lossless format.
        slide_variation: Relative standard deviation of stain and light between slides.
    """

    light: Colour
    chromatin: Colour
    rna: Colour
    eosinophilic: Colour
    haemoglobin: Colour
    width: float
    crowding: float
    focus: Range
    sharpening: float = 0.0
    vignetting: float = 0.0
    noise: float = 1.0
    jpeg_quality: int | None = None
    slide_variation: float = 0.05

    def slide(self, rng: np.random.Generator) -> "Laboratory":
        """Returns this laboratory with the light and stain of a random slide."""

        def vary(colour: Colour, deviation: float) -> Colour:
            red, green, blue = (np.array(colour) * rng.normal(1, deviation, 3)).tolist()
            return red, green, blue

        return replace(
            self,
            light=vary(self.light, self.slide_variation / 4),
            chromatin=vary(self.chromatin, self.slide_variation),
            rna=vary(self.rna, self.slide_variation),
            eosinophilic=vary(self.eosinophilic, self.slide_variation),
            haemoglobin=vary(self.haemoglobin, self.slide_variation),
        )

    def photograph(self, smear: Array, frame: Frame, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Renders an image from concentrations.

        Args:
            smear: Concentrations, float32 (4, size, size), in the order of `MATTER`.
            frame: Field of view.
            rng: Random generator of focus and noise.

        Returns:
            RGB image, uint8 (size, size, 3).
        """
        absorption = np.array([getattr(self, name) for name in MATTER], dtype=np.float32)
        density = np.tensordot(absorption, smear, axes=(0, 0))
        image = np.exp(-density) * self._illumination(frame, rng)
        image = self._focused(image, frame, rng.uniform(*self.focus))
        image += np.float32(self.noise) * rng.standard_normal(image.shape, dtype=np.float32)
        pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        return np.ascontiguousarray(pixels) if self.jpeg_quality is None else _through_jpeg(pixels, self.jpeg_quality)

    def _illumination(self, frame: Frame, rng: np.random.Generator) -> Array:
        """Returns the light that passes through an empty slide, (3, size, size)."""
        centre_x, centre_y = rng.normal(0, frame.width / 8, 2)
        distance2 = ((frame.x - centre_x) ** 2 + (frame.y - centre_y) ** 2) / (frame.width**2 / 2)
        falloff = 1 - self.vignetting * distance2
        return (np.array(self.light)[:, None, None] * falloff).astype(np.float32)

    def _focused(self, image: Array, frame: Frame, blur: float) -> Array:
        """Blurs by `blur` micrometres, then applies the camera's unsharp mask."""
        blurred = _gaussian(image, blur / frame.pixel)
        if not self.sharpening:
            return blurred
        return blurred + np.float32(self.sharpening) * (blurred - _gaussian(blurred, _SHARPENING_RADIUS / frame.pixel))


def _gaussian(image: Array, sigma: float) -> Array:
    return gaussian_filter(image, (0, sigma, sigma), truncate=2.5)


def _through_jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=quality)
    return np.array(Image.open(file))


#: Built-in laboratories, named after the origin of the data set that they imitate: "munich" Matek-19, "barcelona"
#: Acevedo-20, "tehran" Raabin-WBC.
LABORATORIES: Mapping[str, Laboratory] = MappingProxyType(
    {
        "munich": Laboratory(
            light=(241, 237, 236),
            chromatin=(0.88, 3.2, 0.28),
            rna=(0.52, 0.52, 0.09),
            eosinophilic=(0.30, 0.85, 0.25),
            haemoglobin=(0.21, 0.39, 0.23),
            width=27.5,
            crowding=1.1,
            focus=(0.07, 0.22),
            sharpening=0.9,
            vignetting=0.02,
            noise=1.6,
        ),
        "barcelona": Laboratory(
            light=(254, 229, 202),
            chromatin=(1.15, 1.75, 0.42),
            rna=(0.62, 0.60, 0.18),
            eosinophilic=(0.32, 0.85, 0.55),
            haemoglobin=(0.24, 0.35, 0.21),
            width=34.0,
            crowding=1.1,
            focus=(0.08, 0.12),
            sharpening=1.6,
            noise=0.8,
            jpeg_quality=92,
            slide_variation=0.03,
        ),
        "tehran": Laboratory(
            light=(218, 187, 174),
            chromatin=(0.78, 1.90, 0.62),
            rna=(0.36, 0.42, 0.20),
            eosinophilic=(0.38, 0.80, 0.60),
            haemoglobin=(0.46, 0.68, 0.34),
            width=31.0,
            crowding=1.35,
            focus=(0.14, 0.26),
            vignetting=0.06,
            noise=1.0,
            jpeg_quality=85,
            slide_variation=0.08,
        ),
    }
)


def any_laboratory(rng: np.random.Generator) -> Laboratory:
    """Samples a random laboratory, for domain randomization (Tobin et al., IROS 2017).

    The ranges cover Romanowsky stains, illuminations and cameras: nuclei from red-violet to blue, red cells from pale
    to dark, slides from white to tinted, images from sharpened to soft. A model trained on many such laboratories has
    to rely on features that they share.

    Args:
        rng: Random generator.

    Example:
        >>> any_laboratory(np.random.default_rng(0)).width > 25
        True
    """

    def between(low: Colour, high: Colour) -> Colour:
        red, green, blue = np.exp(rng.uniform(np.log(low), np.log(high))).tolist()
        return red, green, blue

    return Laboratory(
        light=between((205, 180, 165), (255, 245, 240)),
        chromatin=between((0.6, 1.4, 0.2), (1.3, 3.4, 0.75)),
        rna=between((0.30, 0.35, 0.07), (0.70, 0.65, 0.25)),
        eosinophilic=between((0.20, 0.60, 0.20), (0.45, 1.00, 0.70)),
        haemoglobin=between((0.15, 0.30, 0.15), (0.50, 0.75, 0.40)),
        width=rng.uniform(25.5, 36),
        crowding=rng.uniform(0.8, 1.6),
        focus=(0.07, rng.uniform(0.10, 0.30)),
        sharpening=rng.uniform(0, 1.6),
        vignetting=rng.uniform(0, 0.07),
        noise=rng.uniform(0.5, 2.0),
        jpeg_quality=int(rng.integers(80, 96)),
    )
