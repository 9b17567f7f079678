"""Colon mucosa and colon adenocarcinoma: one drawing with an atypia of 0 (healthy) to 1 (poorly differentiated)."""

import numpy as np

from raypipe.data.tissue.canvas import (
    Blobs,
    Canvas,
    Floats,
    draw_blobs,
    draw_noise,
    find_uphill,
    measure_blob_radius,
    scatter,
    scatter_in,
    smooth_step,
)
from raypipe.data.tissue.stain import Section, add_nuclei, draw_grain, draw_stroma


def _interpolate(atypia: float, healthy: float, cancer: float) -> float:
    return healthy + (cancer - healthy) * atypia


def _draw(rng: np.random.Generator, atypia: float, healthy: tuple[float, float], cancer: tuple[float, float]) -> float:
    return rng.uniform(_interpolate(atypia, healthy[0], cancer[0]), _interpolate(atypia, healthy[1], cancer[1]))


def _draw_ring(rng: np.random.Generator, gland: Blobs, spacing: float, depth: float) -> tuple[Floats, Floats]:
    """Return points one `spacing` apart near the outlines of the glands, and the angles across the outlines."""
    places, angles = [], []
    for k in range(len(gland.points)):
        around = 2 * np.pi * float(np.sqrt(gland.major[k] * gland.minor[k])) * (1 - depth)
        count = max(int(around / spacing), 6)
        theta = (np.arange(count) + rng.uniform(-0.25, 0.25, count)) * 2 * np.pi / count
        outer = gland.outline(k, theta, 1 - depth * rng.uniform(0.7, 1.3, count))
        places.append(outer)
        middle = gland.points[k]
        angles.append(np.arctan2(outer[:, 1] - middle[1], outer[:, 0] - middle[0]))
    return np.concatenate(places), np.concatenate(angles)


def draw_colon(rng: np.random.Generator, canvas: Canvas, atypia: float) -> Section:
    """Draw glands in stroma.

    Healthy crypts are round and separate, with an empty lumen, a ring of basal nuclei and goblet vacuoles. With atypia
    they grow, bend and fuse. Their nuclei swell and pile up, the vacuoles disappear and debris fills the lumen.
    """
    section = draw_stroma(rng, canvas)
    nucleus = rng.uniform(0.0125, 0.0155) * _interpolate(atypia, 1.0, 1.25)
    inflamed = rng.uniform(0.1, 0.45)
    cells = scatter_in(rng, canvas, np.full_like(canvas.x, inflamed), 0.05, 0.45)
    spindle = draw_blobs(rng, cells, nucleus * 0.75, spread=0.2, aspect=(1.0, 3.5))
    add_nuclei(rng, canvas, section, spindle, dark=1.3, open_chromatin=0.1)

    spacing = rng.uniform(0.3, 0.5) * _interpolate(atypia, 1.0, 1.1)
    crowding = _draw(rng, atypia, (0.36, 0.44), (0.42, 0.51))
    aspect = _draw(rng, atypia, (1.0, 1.5), (1.6, 2.6))
    gland = draw_blobs(
        rng,
        scatter(rng, spacing, _interpolate(atypia, 0.12, 0.3)),
        spacing * crowding,
        spread=_interpolate(atypia, 0.06, 0.22),
        aspect=(aspect, aspect + _interpolate(atypia, 0.2, 0.8)),
        wobble=_interpolate(atypia, 0.02, 0.1),
    )
    rho = measure_blob_radius(canvas, gland) + _interpolate(atypia, 0.01, 0.12) * draw_noise(rng, canvas, 8, 2)
    radius = float(np.median(gland.minor))
    soft = 1.2 * canvas.pixel / radius
    inside = smooth_step(1 - rho, soft)
    section.cover(inside, 0.2 * draw_grain(rng, canvas, 0.25), 0.42 * draw_grain(rng, canvas, 0.2))
    basement = np.exp(-(((rho - 1.04) * radius / 0.006) ** 2))
    section.eosin = section.eosin + 0.25 * basement

    lumen_size = _draw(rng, atypia, (0.4, 0.65), (0.15, 0.4))
    mucinous = np.clip(_interpolate(atypia, rng.uniform(0.5, 1.0), -0.2), 0, 1)
    tall = 1 - 2.6 * nucleus / radius
    vacuoles = scatter_in(rng, canvas, mucinous * smooth_step(tall - rho, 0.05), 0.034, 0.25)
    bubbles = measure_blob_radius(canvas, draw_blobs(rng, vacuoles, 0.0145, spread=0.15, wobble=0.03), reach=1.2)
    section.cover(smooth_step(1 - bubbles, 0.18) * inside, 0.13, 0.06)

    ragged = _interpolate(atypia, 0.05, 0.22) * draw_noise(rng, canvas, 12, 2)
    lumen = smooth_step(lumen_size - rho + ragged, soft)
    debris = np.clip(draw_noise(rng, canvas, 30, 2) + rng.uniform(-0.5, 0.4), 0, 1) * _interpolate(atypia, 0.25, 1.0)
    section.cover(lumen, 0.02 + 0.3 * debris, 0.03 + 0.5 * debris)

    if atypia < rng.uniform(0.25, 0.6):
        places, angles = _draw_ring(rng, gland, nucleus * _interpolate(atypia, 1.9, 1.6), 1.25 * nucleus / radius)
    else:
        bottom = lumen_size + ragged + rng.uniform(0.12, 0.25)
        layer = smooth_step(rho - bottom, 0.08) * smooth_step(0.94 - rho, 0.04)
        places = scatter_in(rng, canvas, layer, nucleus * 1.9, 0.35)
        angles = find_uphill(canvas, rho, places)
    epithelial = draw_blobs(
        rng,
        places,
        nucleus,
        spread=_interpolate(atypia, 0.08, 0.3),
        aspect=(1.3, _interpolate(atypia, 1.9, 2.8)),
        wobble=_interpolate(atypia, 0.02, 0.08),
        angle=angles + rng.normal(0, _interpolate(atypia, 0.1, 0.32), len(places)).astype(np.float32),
    )
    add_nuclei(
        rng, canvas, section, epithelial, dark=1.25, open_chromatin=rng.uniform(0, _interpolate(atypia, 0.5, 1.0))
    )
    return section


def draw_colon_n(rng: np.random.Generator, canvas: Canvas) -> Section:
    """Draw healthy or mildly irritated mucosa."""
    return draw_colon(rng, canvas, 0.5 * float(rng.beta(1.0, 2.5)))


def draw_colon_aca(rng: np.random.Generator, canvas: Canvas) -> Section:
    """Draw adenocarcinoma, which is occasionally so well differentiated that it looks like mucosa."""
    return draw_colon(rng, canvas, 0.2 + 0.8 * float(rng.beta(2.5, 1.0)))
