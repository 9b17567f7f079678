"""Shapes and textures of synthetic tissue, in units of one field of view.

A canvas is wider than the tile cut from it, so that a rotated tile has tissue in every corner. Random draws never
depend on the number of pixels: an equal generator state gives the same tissue at any resolution.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating[Any]]

EXTENT = 1.36
"""Side of the canvas in fields of view. A square rotated by 25 degrees needs cos 25 + sin 25 = 1.33."""

_FAR = 9.0


@dataclass(frozen=True)
class Canvas:
    """Pixel centers of a square canvas. (0, 0) is its middle, and the tile spans -0.5 to 0.5."""

    x: Floats
    y: Floats

    @property
    def pixels(self) -> int:
        """Number of pixels along one side."""
        return len(self.x)

    @property
    def pixel(self) -> float:
        """Side of one pixel in fields of view."""
        return EXTENT / self.pixels

    def index(self, coordinate: Floats) -> NDArray[np.int64]:
        """Return the row or column of a coordinate, clipped to the canvas."""
        position = np.floor((coordinate / EXTENT + 0.5) * self.pixels).astype(np.int64)
        clipped: NDArray[np.int64] = np.clip(position, 0, self.pixels - 1)
        return clipped

    def at(self, image: Floats, points: Floats) -> Floats:
        """Return the values of an (n, n) image at (k, 2) points."""
        values: Floats = image[self.index(points[:, 1]), self.index(points[:, 0])]
        return values


@dataclass(frozen=True)
class Blobs:
    """k ellipses with wavy outlines: `points` is (k, 2), `waves` and `phases` are (k, harmonics 2, 3, ...)."""

    points: Floats
    major: Floats
    minor: Floats
    angle: Floats
    waves: Floats
    phases: Floats

    def outline(self, blob: int, theta: Floats, fraction: float | Floats) -> Floats:
        """Return (k, 2) points on the outline of one blob, shrunk to `fraction` of its size."""
        harmonics = np.arange(2, 2 + self.waves.shape[1])
        wobble = 1 + (self.waves[blob] * np.cos(np.outer(theta, harmonics) + self.phases[blob])).sum(axis=1)
        u = self.major[blob] * fraction * wobble * np.cos(theta)
        v = self.minor[blob] * fraction * wobble * np.sin(theta)
        cos, sin = np.cos(self.angle[blob]), np.sin(self.angle[blob])
        points: Floats = np.stack([u * cos - v * sin, u * sin + v * cos], axis=1) + self.points[blob]
        return points.astype(np.float32)


def create_canvas(pixels: int) -> Canvas:
    """Return a canvas whose tile has `pixels` pixels on each side."""
    count = int(np.ceil(pixels * EXTENT))
    line = ((np.arange(count, dtype=np.float32) + 0.5) / count - 0.5) * np.float32(EXTENT)
    x, y = np.meshgrid(line, line)
    return Canvas(x=x, y=y)


def smooth_step(value: Floats, width: float) -> Floats:
    """Return an antialiased edge: 0 where `value` is below -width, 1 above +width, smooth between."""
    t = np.clip(value / (2 * width) + 0.5, 0, 1)
    edge: Floats = t * t * (3 - 2 * t)
    return edge


def draw_noise(rng: np.random.Generator, canvas: Canvas, cells: float, octaves: int = 1) -> Floats:
    """Return smooth noise, about -1 to 1, with `cells` bumps along one field of view.

    Each further octave has twice the bumps and half the strength.
    """
    total = np.zeros_like(canvas.x)
    for octave in range(octaves):
        count = int(cells * EXTENT * 2**octave) + 3
        lattice = rng.uniform(-1, 1, (count, count)).astype(np.float32)
        side = (canvas.pixels, canvas.pixels)
        total += np.asarray(Image.fromarray(lattice).resize(side, Image.Resampling.BICUBIC)) / 2**octave
    return total


def draw_fibres(rng: np.random.Generator, canvas: Canvas, cells: float, stretch: float, wave: float) -> Floats:
    """Return wavy strands, about -1 to 1: noise that is stretched along a direction which bends.

    Parameters
    ----------
    rng
        Random generator.
    canvas
        Canvas to cover.
    cells
        Number of bumps across the strands along one field of view.
    stretch
        Length of a bump along the strands, in units of its width.
    wave
        Shift of the strands where they bend, at most about this many fields of view.
    """
    angle = rng.uniform(0, np.pi)
    bend = draw_noise(rng, canvas, 2.0, 2) * wave
    across = canvas.y * np.cos(angle) - canvas.x * np.sin(angle) + bend
    along = canvas.y * np.sin(angle) + canvas.x * np.cos(angle)
    side = EXTENT * 1.5 + 4 * wave
    table = rng.uniform(-1, 1, (int(cells * side) + 3, int(cells * side / stretch) + 3)).astype(np.float32)
    rows = (across / side + 0.5) * (table.shape[0] - 1)
    columns = (along / side + 0.5) * (table.shape[1] - 1)
    return _interpolate(table, rows, columns)


def _interpolate(table: Floats, rows: Floats, columns: Floats) -> Floats:
    rows = np.clip(rows, 0, table.shape[0] - 1.001)
    columns = np.clip(columns, 0, table.shape[1] - 1.001)
    top, left = rows.astype(np.int32), columns.astype(np.int32)
    down, right = rows - top, columns - left
    down, right = down * down * (3 - 2 * down), right * right * (3 - 2 * right)
    upper = table[top, left] * (1 - right) + table[top, left + 1] * right
    lower = table[top + 1, left] * (1 - right) + table[top + 1, left + 1] * right
    value: Floats = upper * (1 - down) + lower * down
    return value


def scatter(rng: np.random.Generator, spacing: float, jitter: float) -> Floats:
    """Return (k, 2) points of a rotated hexagonal lattice over the canvas and a rim.

    Each point is moved by up to `jitter` spacings.
    """
    reach = int(EXTENT / spacing) + 2
    i, j = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1))
    lattice = np.stack([i + 0.5 * (j % 2), j * np.sqrt(0.75)], axis=-1).reshape(-1, 2) * spacing
    lattice = lattice + rng.uniform(-jitter, jitter, lattice.shape) * spacing + rng.uniform(0, spacing, 2)
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (lattice @ turn).astype(np.float32)
    rim = EXTENT / 2 + spacing
    inside: Floats = points[(np.abs(points) < rim).all(axis=1)]
    return inside


def scatter_in(rng: np.random.Generator, canvas: Canvas, mask: Floats, spacing: float, jitter: float = 0.35) -> Floats:
    """Return the scattered (k, 2) points that the mask keeps. The mask's value, 0 to 1, is a point's probability."""
    points = scatter(rng, spacing, jitter)
    kept: Floats = points[rng.random(len(points)) < canvas.at(mask, points)]
    return kept


def draw_blobs(
    rng: np.random.Generator,
    points: Floats,
    radius: float,
    *,
    spread: float = 0.1,
    aspect: tuple[float, float] = (1.0, 1.3),
    wobble: float = 0.05,
    angle: Floats | None = None,
    harmonics: int = 3,
) -> Blobs:
    """Return blobs at (k, 2) points.

    Parameters
    ----------
    rng
        Random generator.
    points
        (k, 2) centers.
    radius
        Median radius in fields of view.
    spread
        Standard deviation of the logarithm of the radius.
    aspect
        Range of the ratio of the axes.
    wobble
        Standard deviation of each harmonic of the outline, relative to the radius.
    angle
        (k,) directions of the long axes in radians. None draws them at random.
    harmonics
        Number of harmonics that bend the outline.
    """
    count = len(points)
    size = radius * np.exp(rng.normal(0, spread, count))
    stretch = np.sqrt(rng.uniform(*aspect, count))
    direction = rng.uniform(0, np.pi, count) if angle is None else angle
    waves = np.clip(rng.normal(0, wobble, (count, harmonics)), -0.25, 0.25)
    return Blobs(
        points=points,
        major=(size * stretch).astype(np.float32),
        minor=(size / stretch).astype(np.float32),
        angle=direction.astype(np.float32),
        waves=waves.astype(np.float32),
        phases=rng.uniform(0, 2 * np.pi, (count, harmonics)).astype(np.float32),
    )


def measure_blob_radius(canvas: Canvas, shapes: Blobs, reach: float = 1.6) -> Floats:
    """Return the distance from the nearest blob's center in units of its outline.

    It is below 1 inside the blob and large outside `reach`.
    """
    result = np.full(canvas.x.shape, _FAR, np.float32)
    if len(shapes.points) == 0:
        return result
    half = int(np.ceil(reach * float(shapes.major.max()) / canvas.pixel)) + 1
    square = np.arange(-half, half + 1)
    down, right = (offset[np.hypot(*np.meshgrid(square, square)) <= half] for offset in np.meshgrid(square, square))
    columns = np.floor((shapes.points[:, :1] / EXTENT + 0.5) * canvas.pixels).astype(np.int64) + right
    rows = np.floor((shapes.points[:, 1:] / EXTENT + 0.5) * canvas.pixels).astype(np.int64) + down
    within = (columns >= 0) & (columns < canvas.pixels) & (rows >= 0) & (rows < canvas.pixels)
    blob, place = np.nonzero(within)[0], (rows * canvas.pixels + columns)[within]
    dx = canvas.x.ravel()[place] - shapes.points[blob, 0]
    dy = canvas.y.ravel()[place] - shapes.points[blob, 1]
    cos, sin = np.cos(shapes.angle), np.sin(shapes.angle)
    along = dx * (cos / shapes.major)[blob] + dy * (sin / shapes.major)[blob]
    across = dy * (cos / shapes.minor)[blob] - dx * (sin / shapes.minor)[blob]
    near = along**2 + across**2 < reach**2
    blob, place, ray = blob[near], place[near], along[near] + 1j * across[near]
    rho = np.maximum(np.abs(ray), np.float32(1e-6))
    ray /= rho
    coefficients = (shapes.waves * np.exp(1j * shapes.phases)).astype(np.complex64)
    power, wobble = ray, np.ones_like(rho)
    for coefficient in coefficients.T:
        power = power * ray
        wobble += (coefficient[blob] * power).real
    np.minimum.at(result.reshape(-1), place, rho / wobble)
    return result


def measure_cell_gap(canvas: Canvas, points: Floats, groups: NDArray[np.int64] | None = None) -> tuple[Floats, Floats]:
    """Return the distances to the nearest of (k, 2) points and to the border of its cell.

    Borders between points of one group are left out, which joins their cells.
    """
    from scipy.spatial import cKDTree  # noqa: PLC0415  slow, and only synthetic tissue needs it

    pixels = np.stack([canvas.x.ravel(), canvas.y.ravel()], axis=1)
    distance, index = cKDTree(points).query(pixels, k=2)
    gap = (distance[:, 1] - distance[:, 0]) / 2
    if groups is not None:
        gap = np.where(groups[index[:, 0]] == groups[index[:, 1]], distance[:, 1], gap)
    shape = canvas.x.shape
    return distance[:, 0].reshape(shape).astype(np.float32), gap.reshape(shape).astype(np.float32)


def find_uphill(canvas: Canvas, image: Floats, points: Floats) -> Floats:
    """Return the (k,) directions, in radians, in which an (n, n) image rises fastest at (k, 2) points."""
    dy, dx = (np.asarray(slope) for slope in np.gradient(image))
    rise: Floats = np.arctan2(canvas.at(dy, points), canvas.at(dx, points))
    return rise
