"""An attack on tiles without a known success, at several radii or at its own.

A tile that is fooled within a small radius is fooled within every larger one. A tile that another attack has fooled
within a radius needs no pass there. The attack then runs only on tiles where its result matters.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.generate import Adversarials, copy_rows, generate, init_results
from raypipe.attacks.engine.headway import count_one_round
from raypipe.attacks.engine.norms import BoundedAttack, replace_ball
from raypipe.attacks.engine.prepare import PreparedModel
from raypipe.base.rounding import FLOAT_NOISE

COUNTS = ("forwards", "backwards", "seconds")


def generate_over_radii(
    model: PreparedModel,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    settings: NamedAttack,
    radii: Sequence[float] = (),
    known: Sequence[Adversarials] = (),
    clean_logits: NDArray[np.float32] | None = None,
) -> Adversarials:
    """Attack tiles within balls of growing radius until each tile is fooled, or once.

    Parameters
    ----------
    model, images, labels, clean_logits
        See `raypipe.attacks.engine.generate.generate`.
    settings
        Settings of the attack. With `radii` it must be a bounded attack, and its own radius has no effect.
    radii
        Radii of the balls, ascending, with pixels in [0, 1]. Without radii the attack runs once with its settings.
    known
        Results of other attacks on the same model and tiles, in the same order. A tile that one of them has fooled
        within a radius is not attacked there. Without radii, a tile that one of them has fooled is not attacked at all.

    Returns
    -------
    Adversarials
        Adversarial example of each tile for the smallest radius within which it is fooled: this attack's example, or
        the smallest known one. A tile that stays correct has the result of the largest radius. Without radii, a tile
        that is not attacked has the first known example. The passes are those of this attack only, over all radii;
        they are 0 where known results decide every radius.

    Raises
    ------
    TypeError
        If the attack has no ball and `radii` are given.
    ValueError
        If shapes or types do not match.
    """
    if not radii:
        return _generate_once(model, images, labels, settings, known, clean_logits)
    if not isinstance(settings, BoundedAttack):
        raise TypeError(f"{settings.name} has no ball: expected a bounded attack for radii {list(radii)}")
    result, counts = init_results(images), {name: np.zeros(len(images)) for name in COUNTS}
    standing, smallest = np.ones(len(images), dtype=np.bool_), init_results(images)
    for other in known:
        _keep_smaller(smallest, other, settings.norm)
        standing &= other.clean_prediction == labels
    if known:
        for each in (result.clean_prediction, result.adversarial_prediction):
            each[:] = known[0].clean_prediction
    sizes = np.where(smallest.success, getattr(smallest, settings.norm), np.inf)
    for number, eps in enumerate(radii):
        found = np.flatnonzero(standing & (sizes <= eps * (1 + FLOAT_NOISE)))
        copy_rows(smallest, found, into=(result, found))
        standing[found] = False
        rows = np.flatnonzero(standing)
        if len(rows):
            with count_one_round(len(images) - len(rows), len(rows), number / len(radii), (number + 1) / len(radii)):
                attack = replace_ball(settings, eps, settings.norm)
                made = generate(model, images[rows], labels[rows], attack, _take(clean_logits, rows))
            copy_rows(made, np.arange(len(rows)), into=(result, rows))
            standing[rows] = (made.clean_prediction == labels[rows]) & ~made.success
            for name, total in counts.items():
                total[rows] += getattr(made, name)
    for name, total in counts.items():
        getattr(result, name)[:] = total
    return result


def _generate_once(
    model: PreparedModel,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    settings: NamedAttack,
    known: Sequence[Adversarials],
    clean_logits: NDArray[np.float32] | None,
) -> Adversarials:
    """Attack the tiles that no known result fools, and copy the known results of the others."""
    if not known:
        return generate(model, images, labels, settings, clean_logits)
    result, standing = init_results(images), np.ones(len(images), dtype=np.bool_)
    for other in known:
        _require_same_tiles(other, images)
        decided = np.flatnonzero(standing & (other.success | (other.clean_prediction != labels)))
        copy_rows(other, decided, into=(result, decided))
        standing[decided] = False
    for name in COUNTS:
        getattr(result, name)[:] = 0
    rows = np.flatnonzero(standing)
    if len(rows):
        made = generate(model, images[rows], labels[rows], settings, _take(clean_logits, rows))
        copy_rows(made, np.arange(len(rows)), into=(result, rows))
    return result


def _take(logits: NDArray[np.float32] | None, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
    return None if logits is None else logits[rows]


def _require_same_tiles(other: Adversarials, images: NDArray[np.uint8]) -> None:
    if other.images.shape != images.shape:
        raise ValueError(f"known examples {other.images.shape}: expected those of the tiles, {images.shape}")


def _keep_smaller(smallest: Adversarials, other: Adversarials, norm: str) -> None:
    """Copy the examples of another attack that fool the model and are smaller than the known ones."""
    _require_same_tiles(other, smallest.images)
    before = np.where(smallest.success, getattr(smallest, norm), np.inf)
    taken = np.flatnonzero(other.success & (getattr(other, norm) < before))
    copy_rows(other, taken, into=(smallest, taken))
