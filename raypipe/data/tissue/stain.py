"""Hematoxylin and eosin: the uptake of each stain, and the look of stained tissue under the microscope."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from raypipe.data.tissue.canvas import Blobs, Canvas, Floats, draw_fibres, draw_noise, measure_blob_radius, smooth_step

HAEMATOXYLIN = (0.65, 0.70, 0.29)
EOSIN = (0.07, 0.99, 0.11)
"""Optical density per unit of stain in red, green and blue (Ruifrok and Johnston 2001, Anal Quant Cytol Histol 23)."""


@dataclass
class Section:
    """Amounts of both stains, (n, n) each: 0 where the slide is empty and about 1.5 in a dark nucleus."""

    haematoxylin: Floats
    eosin: Floats

    def cover(self, mask: Floats, haematoxylin: Floats | float, eosin: Floats | float) -> None:
        """Replace both amounts where the mask is 1."""
        self.haematoxylin = self.haematoxylin * (1 - mask) + mask * haematoxylin
        self.eosin = self.eosin * (1 - mask) + mask * eosin


def draw_stroma(rng: np.random.Generator, canvas: Canvas) -> Section:
    """Draw connective tissue: wavy eosin bundles with pale clefts between them."""
    bundles = draw_fibres(rng, canvas, rng.uniform(28, 44), rng.uniform(6, 10), rng.uniform(0.03, 0.12))
    fine = draw_fibres(rng, canvas, 80, 8, 0.06)
    patches = draw_noise(rng, canvas, 5, 2)
    loose = smooth_step(bundles + 0.4 * patches - rng.uniform(0.35, 0.8), 0.25)
    eosin = (0.62 + 0.16 * bundles + 0.1 * fine + 0.1 * patches) * (1 - 0.75 * loose)
    haematoxylin = (0.12 + 0.03 * patches + 0.03 * fine) * (1 - 0.6 * loose)
    return Section(haematoxylin=np.clip(haematoxylin, 0, None), eosin=np.clip(eosin, 0, None))


def draw_grain(rng: np.random.Generator, canvas: Canvas, strength: float) -> Floats:
    """Return the grain of cytoplasm, (n, n), as factors around 1."""
    return 1 + strength * (draw_noise(rng, canvas, 70) + 0.6 * draw_noise(rng, canvas, 14))


def add_nuclei(
    rng: np.random.Generator, canvas: Canvas, section: Section, nuclei: Blobs, *, dark: float, open_chromatin: float
) -> None:
    """Draw nuclei over a section.

    Parameters
    ----------
    rng
        Random generator.
    canvas
        Canvas of the section.
    section
        Section to draw on.
    nuclei
        Outlines of the nuclei.
    dark
        Hematoxylin of the nuclear membrane, about 0.8 to 1.8.
    open_chromatin
        0 for evenly dark nuclei, up to 1 for pale nuclei with clumps, nucleoli and a sharp membrane.
    """
    rho = measure_blob_radius(canvas, nuclei, reach=1.1)
    edge = max(0.9 * canvas.pixel / float(np.median(nuclei.minor)), 0.12) if len(nuclei.points) else 1.0
    body = smooth_step(1 - rho, edge)
    rim = np.exp(-(((rho - 0.84) / 0.2) ** 2))
    clumps = draw_noise(rng, canvas, 110)
    center = 1 - open_chromatin * 0.5 + (0.12 + 0.25 * open_chromatin) * clumps
    tone = 1 + 0.25 * draw_noise(rng, canvas, 24)
    nucleoli = smooth_step(0.3 - rho, 0.15) * open_chromatin * 0.5
    ink = dark * tone * np.clip(np.maximum(center + nucleoli, rim * (1 - 0.1 * open_chromatin)), 0.15, 1.25)
    section.cover(body, ink, 0.3 + 0.1 * nucleoli)


def add_red_cells(canvas: Canvas, section: Section, cells: Blobs) -> None:
    """Draw red blood cells: eosin discs that are paler in the middle."""
    rho = measure_blob_radius(canvas, cells, reach=1.1)
    disc = smooth_step(1 - rho, 0.2)
    section.cover(disc, 0.02, 0.75 + 0.35 * np.clip(rho, 0, 1) ** 2)


def photograph(rng: np.random.Generator, canvas: Canvas, section: Section) -> NDArray[np.uint8]:
    """Return an 8-bit picture of a section, (n, n, 3), by the Beer-Lambert law.

    The ranges of stain strength, hue, lamp and focus are equal for all tissues. The mean stain of the section is partly
    evened out, as a laboratory stains to taste. Color alone therefore does not tell the classes apart.
    """
    amounts = []
    for stain, usual, spread in ((section.haematoxylin, 0.36, 0.16), (section.eosin, 0.42, 0.16)):
        wanted = usual * np.exp(rng.normal(0, spread))
        amounts.append(stain * (wanted / max(float(stain.mean()), 0.05)) ** 0.8)
    density = np.zeros((*canvas.x.shape, 3), np.float32)
    for amount, vector, spread in zip(amounts, (HAEMATOXYLIN, EOSIN), (0.09, 0.26), strict=True):
        hue = np.array(vector) + rng.uniform(0, spread, 3) * (0.4, 0.0, 1.0)
        density += (amount[..., None] * (hue / np.linalg.norm(hue))).astype(np.float32)
    lamp = rng.uniform(0.84, 0.99) * (1 + rng.normal(0, 0.015, 3))
    blur = float(rng.uniform(0.0, 0.004)) / canvas.pixel
    picture = 255 * np.clip(lamp * np.exp(-density), 0, 1)
    image = Image.fromarray((picture + 0.5).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(blur)))
