"""Finish an attack in 8 bits: what is stored, shown and classified is an image, not a float tensor.

Perturbations of minimal length often die when rounded: of DeepFool's, about half. Stretching them by a few percent
brings them back, for one or two forward passes. Against a steep model they may be so short that rounding leaves nothing
of them: then the stretch goes on until their largest values reach a step of 1/255.
"""

import torch
from torch import Tensor

from raypipe.attacks.tensors import clear, margins
from raypipe.attacks.victim import Victim

SCALES = (*(1 + 0.03 * step for step in range(67)), *(3 * 1.1**step for step in range(47)))
"""By which perturbations are stretched, in the order tried: in steps of 3 % of the perturbation to 3 times its length,
then in steps of a tenth to about 240 times, at which the shortest that float32 attacks give reach a step of 1/255."""


def to_unit(images: Tensor) -> Tensor:
    """8-bit pixels as float32 in [0, 1]."""
    return images.float() / 255


def to_bytes(images: Tensor) -> Tensor:
    """Float pixels rounded to 8 bits; what is outside [0, 1] is clipped."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def to_eight_bit(victim: Victim, images: Tensor, adversarial: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Round adversarial images to 8 bits, with the perturbation stretched by the smallest scale that survives it.

    Parameters
    ----------
    victim
        The frozen model; forward passes only.
    images
        (n, channels, h, w), uint8: the clean images.
    adversarial
        (n, channels, h, w), float32 in [0, 1]: what the attack made of them.
    labels
        (n,) true classes.

    Returns
    -------
    images : torch.Tensor
        (n, channels, h, w), uint8. Where no scale succeeds: the float result, rounded as it is.
    found : torch.Tensor
        (n,) booleans: where a scale succeeded. The rest are failures, whatever they look like.
    """
    clean = to_unit(images)
    perturbation = adversarial - clean
    result = to_bytes(adversarial)
    utmost = to_bytes(clean + SCALES[-1] * perturbation)
    found = torch.zeros_like(labels, dtype=torch.bool)
    tried = images.clone()  # the clean image is known to be no success
    for scale in SCALES:
        # Where every changed pixel is black or white already, a larger scale gives the same image.
        rows = (~found & _differ(tried, utmost)).nonzero()[:, 0]
        if not len(rows):
            break
        candidates = to_bytes(clean[rows] + scale * perturbation[rows])
        new = _differ(candidates, tried[rows])
        rows, candidates = rows[new], candidates[new]
        if not len(rows):
            continue
        tried[rows] = candidates
        with torch.no_grad():
            logits = victim.logits(to_unit(candidates), rows)
        fooled = clear(-margins(logits, labels[rows]), logits)
        result[rows[fooled]] = candidates[fooled]
        found[rows[fooled]] = True
    return result, found


def _differ(images: Tensor, others: Tensor) -> Tensor:
    """(n,) booleans: where two batches differ in any pixel."""
    return (images != others).flatten(1).any(1)
