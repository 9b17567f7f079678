"""Lung tissue: healthy alveoli, adenocarcinoma and squamous cell carcinoma."""

import numpy as np

from raypipe.data.tissue.canvas import (
    Canvas,
    Floats,
    draw_blobs,
    draw_fibres,
    draw_noise,
    find_uphill,
    measure_blob_radius,
    measure_cell_gap,
    scatter,
    scatter_in,
    smooth_step,
)
from raypipe.data.tissue.stain import Section, add_nuclei, add_red_cells, draw_grain, draw_stroma


def _with_septa(
    rng: np.random.Generator, canvas: Canvas, spacing: float, thickness: float, ragged: float
) -> tuple[Section, Floats]:
    """Return stroma cut by air spaces, and the signed distance into the walls.

    The distance is in fields of view and positive inside the walls.
    """
    section = draw_stroma(rng, canvas)
    points = scatter(rng, spacing, 0.38)
    groups = rng.integers(0, max(len(points) // 2, 1), len(points))
    _, gap = measure_cell_gap(canvas, points, groups)
    depth = thickness * (1 + 0.5 * draw_noise(rng, canvas, 4)) - gap + ragged * draw_noise(rng, canvas, 12, 2)
    return section, depth.astype(np.float32)


def draw_lung_n(rng: np.random.Generator, canvas: Canvas) -> Section:
    """Draw alveoli: thin walls with few small nuclei around air, red cells in capillaries, and occasionally fluid."""
    spacing = rng.uniform(0.15, 0.27)
    thickness = 0.009 + 0.026 * float(rng.beta(1.2, 2.5))
    section, depth = _with_septa(rng, canvas, spacing, thickness, 0.006)
    wall = smooth_step(depth, 1.2 * canvas.pixel)
    flooded = smooth_step(draw_noise(rng, canvas, 2.5, 2) - rng.uniform(0.1, 1.2), 0.2)
    grain = draw_grain(rng, canvas, 0.15)
    section.cover(1 - wall, 0.02 + 0.06 * flooded * grain, 0.03 + 0.3 * flooded * grain)
    nucleus = rng.uniform(0.0115, 0.0155)
    lining = scatter_in(rng, canvas, wall * rng.uniform(0.5, 0.9), nucleus * 2.6, 0.4)
    cells = draw_blobs(
        rng, lining, nucleus, spread=0.18, aspect=(1.0, 2.4), angle=find_uphill(canvas, depth, lining) + np.pi / 2
    )
    blood = scatter_in(rng, canvas, np.maximum(wall * 0.5, 0.15 * flooded), 0.028, 0.4)
    add_red_cells(canvas, section, draw_blobs(rng, blood, 0.0105, spread=0.08, wobble=0.02))
    add_nuclei(rng, canvas, section, cells, dark=1.3, open_chromatin=rng.uniform(0, 0.5))
    macrophages = scatter_in(rng, canvas, (1 - wall) * rng.uniform(0, 0.25), 0.1, 0.4)
    bodies = measure_blob_radius(canvas, draw_blobs(rng, macrophages, 0.024, spread=0.2, wobble=0.06), reach=1.2)
    section.cover(smooth_step(1 - bodies, 0.1), 0.15 * grain, 0.4 * grain)
    add_nuclei(rng, canvas, section, draw_blobs(rng, macrophages, nucleus * 0.9), dark=1.2, open_chromatin=0.3)
    return section


def draw_lung_aca(rng: np.random.Generator, canvas: Canvas) -> Section:
    """Draw adenocarcinoma, from small irregular acini with mucin to almost solid growth.

    Crowded, uneven, round nuclei line the acini.
    """
    solid = float(rng.beta(1.2, 2.2))
    spacing = 0.085 + 0.12 * float(rng.beta(1.3, 2.2))
    section, depth = _with_septa(rng, canvas, spacing, spacing * (0.2 + 0.12 * solid), 0.012)
    nucleus = rng.uniform(0.014, 0.018)
    stray = scatter_in(rng, canvas, np.full_like(canvas.x, rng.uniform(0.2, 0.7)), 0.05, 0.45)
    add_nuclei(rng, canvas, section, draw_blobs(rng, stray, 0.0105, aspect=(1.0, 3.0)), dark=1.3, open_chromatin=0.1)

    lining = nucleus * (2.6 + 3 * solid) * (1 + 0.4 * draw_noise(rng, canvas, 6))
    nests = smooth_step(draw_noise(rng, canvas, 2.5, 2) + rng.uniform(0.5, 1.2), 0.1)
    tumour = smooth_step(lining - depth, 0.005) * nests
    grain = draw_grain(rng, canvas, 0.22)
    section.cover(tumour, 0.24 * grain, 0.42 * grain)
    mucin = np.clip(0.5 + draw_noise(rng, canvas, 10, 2), 0, 1) * rng.uniform(0.0, 0.5)
    strands = draw_fibres(rng, canvas, 40, 6, 0.1)
    lumen = smooth_step(-depth, 1.2 * canvas.pixel) * nests
    section.cover(lumen, 0.02 + (0.16 + 0.06 * strands) * mucin, 0.03 + 0.1 * mucin)
    lined = tumour * smooth_step(depth - 0.5 * nucleus, 0.006) * 0.95
    crowded = scatter_in(rng, canvas, lined, nucleus * rng.uniform(2.1, 2.5), 0.38)
    cells = draw_blobs(rng, crowded, nucleus, spread=0.27, aspect=(1.0, 1.5), wobble=0.06)
    add_nuclei(rng, canvas, section, cells, dark=1.3, open_chromatin=rng.uniform(0.2, 1.0))
    return section


def draw_lung_scc(rng: np.random.Generator, canvas: Canvas) -> Section:
    """Draw squamous cell carcinoma: sheets of polygonal cells with distinct borders, and whorls of keratin."""
    section = draw_stroma(rng, canvas)
    inflamed = scatter_in(rng, canvas, np.full_like(canvas.x, rng.uniform(0.2, 0.8)), 0.045, 0.45)
    add_nuclei(rng, canvas, section, draw_blobs(rng, inflamed, 0.011, aspect=(1.0, 2.5)), dark=1.35, open_chromatin=0.1)

    field = draw_noise(rng, canvas, 2.2, 2) + rng.uniform(0.4, 1.0)
    nest = smooth_step(field, 0.03)
    cleft = np.exp(-(((field - 0.02) / 0.06) ** 2)) * smooth_step(
        draw_noise(rng, canvas, 4) + rng.uniform(-0.6, 0.4), 0.2
    )
    spacing = rng.uniform(0.058, 0.08)
    seeds = scatter(rng, spacing, rng.uniform(0.3, 0.42))
    _, gap = measure_cell_gap(canvas, seeds)
    border = np.exp(-((gap / 0.0032) ** 2)) * rng.uniform(0.15, 1.0) * (1 + 0.4 * draw_noise(rng, canvas, 8))
    grain = draw_grain(rng, canvas, 0.15)
    tone = 1 + 0.3 * draw_noise(rng, canvas, 1 / spacing)
    section.cover(nest, 0.16 * grain * (1 - 0.7 * border), 0.55 * grain * tone * (1 - 0.75 * border))

    nucleus = rng.uniform(0.0145, 0.0195)
    centers = seeds[canvas.at(nest, seeds) > 0.6]
    keratin = scatter_in(rng, canvas, nest * rng.uniform(0.2, 1.0), 0.4, 0.45)
    pearls = draw_blobs(rng, keratin, rng.uniform(0.06, 0.11), spread=0.35, aspect=(1.0, 1.8), wobble=0.07)
    rho = measure_blob_radius(canvas, pearls, reach=2.0) + 0.1 * draw_noise(rng, canvas, 10, 2)
    whorl = smooth_step(1 - rho, 0.12) * nest
    rings = np.cos(2 * np.pi * rho * rng.uniform(2.5, 5) + 3 * draw_noise(rng, canvas, 8)) * (
        0.6 + 0.4 * draw_noise(rng, canvas, 12)
    )
    centers = centers[canvas.at(rho, centers) > 1.0]
    cells = draw_blobs(rng, centers, nucleus, spread=0.2, aspect=(1.0, 1.5), wobble=0.05)
    add_nuclei(rng, canvas, section, cells, dark=1.2, open_chromatin=rng.uniform(0.3, 1.0))
    section.cover(whorl, 0.06, 0.95 + 0.22 * rings)
    flat = scatter_in(rng, canvas, whorl * 0.4, 0.04)
    squames = draw_blobs(rng, flat, 0.009, aspect=(2.0, 4.0), angle=find_uphill(canvas, rho, flat) + np.pi / 2)
    add_nuclei(rng, canvas, section, squames, dark=1.2, open_chromatin=0.0)
    section.cover(np.clip(cleft, 0, 1), 0.02, 0.03)
    return section
