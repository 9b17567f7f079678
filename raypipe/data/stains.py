"""Stains of a tile: their amounts by color deconvolution, in fixed colors or in those of the tile itself."""

from typing import Literal

import torch
from torch import Tensor

Basis = Literal["hed", "macenko"]
"""Colors of the stains: the published ones of hematoxylin, eosin and DAB, or those that a tile itself shows."""

STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density of hematoxylin, eosin and DAB (rows) in red, green and blue (columns). Source: Ruifrok and Johnston,
2001, Analytical and Quantitative Cytology and Histology 23(4), 291-299."""
DARKEST = 1 / 255
"""Smallest pixel value for optical densities. Darker values count as this one, because the density of black is
infinite."""
TISSUE = 0.15
"""Smallest optical density, in every channel, of a pixel that shows stain; Macenko et al. recommend this value."""
EXTREMES = (0.01, 0.99)
"""Quantiles of the angle between the two main directions of the densities that are the colors of the two stains."""
LEAST_TISSUE = 16
"""Smallest number of stained pixels that show a tile's stain colors."""


def separate_stains(images: Tensor, basis: Tensor | None = None) -> Tensor:
    """Return the amounts of the three stains, (n, 3, h, w), in images (n, 3, h, w), by color deconvolution.

    Parameters
    ----------
    images
        (n, 3, h, w) in [0, 1].
    basis
        (3, 3) or (n, 3, 3) optical densities of the stains, as in `STAINS`. An amount of 1 has this density (natural
        logarithm). None means `STAINS`.
    """
    colors = torch.tensor(STAINS, dtype=torch.float64) if basis is None else basis.double()
    return _mix(_compute_densities(images), torch.linalg.inv(colors))


def combine_stains(amounts: Tensor, basis: Tensor | None = None) -> Tensor:
    """Return the images, (n, 3, h, w) in [0, 1], of amounts of stains; this inverts `separate_stains`."""
    return (-_mix(amounts, torch.tensor(STAINS) if basis is None else basis)).exp().clamp(0, 1)


def jitter_stains(images: Tensor, factors: Tensor, shifts: Tensor, basis: Tensor | None = None) -> Tensor:
    """Return images with other amounts of the three stains (Tellez et al., 2018, arXiv:1808.05896, section III-C).

    Parameters
    ----------
    images
        (n, 3, h, w) in [0, 1].
    factors, shifts
        (n, 3) factors that multiply each stain's amount, and shifts that are then added.
    basis
        See `separate_stains`.
    """
    amounts = separate_stains(images, basis)
    return combine_stains(amounts * factors[:, :, None, None] + shifts[:, :, None, None], basis)


def find_basis(images: Tensor, basis: Basis) -> Tensor:
    """Return the colors of the stains for each image, (n, 3, 3): optical densities of three stains (rows).

    With ``hed`` they are `STAINS`. With ``macenko`` the first two rows are the colors of hematoxylin and eosin that the
    tile itself shows, and the third row is perpendicular to both. A tile with fewer than `LEAST_TISSUE` stained pixels
    shows no colors, and has `STAINS`.

    Parameters
    ----------
    images
        (n, 3, h, w) in [0, 1].
    basis
        Kind of colors.

    References
    ----------
    Macenko et al., 2009, IEEE International Symposium on Biomedical Imaging, 1107-1110.
    """
    fixed = torch.tensor(STAINS).to(images)
    if basis == "hed":
        return fixed.expand(len(images), -1, -1)
    densities = _compute_densities(images.double()).flatten(2).transpose(1, 2)
    return torch.stack([_find_colors(tile, fixed) for tile in densities])


def _find_colors(densities: Tensor, fixed: Tensor) -> Tensor:
    """Return the stain colors (3, 3) of a tile with optical densities (pixels, 3)."""
    stained = densities[(densities >= TISSUE).all(1)]
    if len(stained) < LEAST_TISSUE:
        return fixed
    plane = torch.linalg.eigh(stained.T.cov()).eigenvectors[:, 1:].flip(1)
    plane = plane * torch.where(plane.sum(0) < 0, -1.0, 1.0)
    angles = torch.atan2(*(stained @ plane).T.flip(0))
    ends = torch.quantile(angles, torch.tensor(EXTREMES).to(angles))
    colors = torch.stack([ends.cos(), ends.sin()], 1) @ plane.T
    # Hematoxylin absorbs more red than eosin does.
    colors = colors[colors[:, 0].argsort(descending=True)]
    third = torch.linalg.cross(colors[0], colors[1])
    if third.norm() < 1e-3:  # one stain only
        return fixed
    return torch.cat([colors, (third / third.norm())[None]]).to(fixed)


def _mix(images: Tensor, weights: Tensor) -> Tensor:
    """Return images (n, 3, h, w) whose channels are mixed by weights (3, 3) or (n, 3, 3), input channels in rows."""
    return torch.einsum("ncij,cs->nsij" if weights.ndim == 2 else "ncij,ncs->nsij", images, weights.to(images))


def _compute_densities(images: Tensor) -> Tensor:
    return -images.clamp_min(DARKEST).log()
