"""The loop that runs any attack on 8-bit tiles, stores 8-bit results and records every tile."""

import time
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raypipe.attacks import get_attack
from raypipe.attacks.base import NamedAttack, TargetedAttack
from raypipe.attacks.engine.active import predict, predict_clean
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.headway import count_one_round, observe_headway
from raypipe.attacks.engine.norms import BoundedAttack
from raypipe.attacks.engine.prepare import PreparedModel
from raypipe.attacks.engine.quantize import to_bytes, to_eight_bit, to_eight_bit_within, to_unit
from raypipe.attacks.engine.targets import draw_targets, find_runner_up
from raypipe.attacks.engine.tensors import measure_lengths
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.base.predictions import NO_CLASS
from raypipe.base.rounding import count_whole_steps
from raypipe.base.threat import BLACK_BOX
from raypipe.models.precision import full_precision

Kind = TypeVar("Kind", bound=np.generic)
HALF_NOISE = 10
"""Largest error of a network's logits in half precision, in rounding steps of the largest logit."""
BLOCK_BYTES = 2**28
"""Bytes of a block's tiles as floats; an attack keeps several copies of them. A block has at least four batches."""


@dataclass(frozen=True)
class Adversarials:
    """Results of an attack, with one entry per tile, in the order of the tiles.

    `raypipe.storage.schemas.ADVERSARIALS` documents each field; `images` are (n, h, w, channels), uint8.
    """

    images: NDArray[np.uint8]
    clean_prediction: NDArray[np.int64]
    adversarial_prediction: NDArray[np.int64]
    success: NDArray[np.bool_]
    l0: NDArray[np.int64]
    l2: NDArray[np.float64]
    linf: NDArray[np.float64]
    float_success: NDArray[np.bool_]
    float_l2: NDArray[np.float64]
    queries: NDArray[np.int64]
    forwards: NDArray[np.int64]
    backwards: NDArray[np.int64]
    seconds: NDArray[np.float64]


@full_precision()
def generate(
    model: PreparedModel,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    settings: NamedAttack,
    clean_logits: NDArray[np.float32] | None = None,
) -> Adversarials:
    """Attack tiles and store the results as 8-bit images.

    Misclassified tiles are returned unchanged and do not count as a success. For other tiles, a success is a stored
    8-bit image that the plain model assigns to a wrong class. If the attack aims at a class, it must be that class.

    Parameters
    ----------
    model
        Model from `raypipe.attacks.engine.prepare`. Its batch size changes the speed and, through float noise, the
        pixels. 8-bit results of two batch sizes differ by single steps of 1/255 in a few values. They differ more where
        the noise decides a near tie in an attack. The batch size is lowered when memory runs out. The plain model is
        left unchanged.
    images
        (n, h, w, channels), uint8. Pass many more tiles than a batch, because a new tile then replaces each tile that
        is done.
    labels
        (n,) true classes.
    settings
        Settings of the attack.
    clean_logits
        (n, classes) logits of the plain model for the unchanged tiles, from `predict_tiles`. None computes them.

    Returns
    -------
    Adversarials
        Results of all tiles. Passes and seconds include the 8-bit search, and the prediction of the unchanged tiles
        unless `clean_logits` has it. The wall time of a block of tiles is shared among its tiles in proportion to their
        passes.

    Raises
    ------
    ValueError
        If shapes or types do not match.

    Notes
    -----
    The function reads and changes no global seed. All random draws come from the settings' seed and the pixels.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"images {images.dtype} {images.shape}, labels {labels.shape}: expected uint8 (n, h, w, channels) and (n,)"
        )
    result, settings = init_results(images), round_radius(settings)
    block = max(4 * model.batch_size, BLOCK_BYTES // (4 * max(1, images[:1].size)))
    with freeze(model.plain):
        for begin in range(0, len(images), block):
            rows = np.arange(begin, min(begin + block, len(images)))
            with count_one_round(decided=begin, entering=len(rows)):
                known = None if clean_logits is None else clean_logits[rows]
                _attack(model, images[rows], labels[rows], settings, known, into=(result, rows))
    return result


@full_precision()
def predict_tiles(model: PreparedModel, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the logits (n, classes) of the plain model for 8-bit tiles (n, h, w, channels)."""
    with freeze(model.plain):
        victim = Victim(model.plain, len(images), model.batch_size)
        logits = predict(victim, to_unit(_put_channels_first(images, model.device)), victim.rows())
    model.batch_size = min(model.batch_size, victim.batch_size)
    return logits.float().cpu().numpy()


def _put_channels_first(images: NDArray[np.uint8], device: torch.device) -> Tensor:
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).contiguous()


def init_results(images: NDArray[np.uint8]) -> Adversarials:
    """Return the results of tiles before any attack: no perturbation, no success, no pass."""

    def zeros(kind: type[Kind]) -> NDArray[Kind]:
        return np.zeros(len(images), dtype=kind)

    return Adversarials(
        images=images.copy(),
        clean_prediction=zeros(np.int64),
        adversarial_prediction=zeros(np.int64),
        success=zeros(np.bool_),
        l0=zeros(np.int64),
        l2=zeros(np.float64),
        linf=zeros(np.float64),
        float_success=zeros(np.bool_),
        float_l2=zeros(np.float64),
        queries=zeros(np.int64),
        forwards=zeros(np.int64),
        backwards=zeros(np.int64),
        seconds=zeros(np.float64),
    )


def copy_rows(source: Adversarials, rows: NDArray[np.int64], *, into: tuple[Adversarials, NDArray[np.int64]]) -> None:
    """Copy all results of some tiles into rows of other results, in place."""
    result, places = into
    for column in fields(Adversarials):
        getattr(result, column.name)[places] = getattr(source, column.name)[rows]


def _attack(
    model: PreparedModel,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    settings: NamedAttack,
    clean_logits: NDArray[np.float32] | None,
    *,
    into: tuple[Adversarials, NDArray[np.int64]],
) -> None:
    """Attack a block of tiles, and write the results into its rows of the whole result."""
    begun = time.perf_counter()
    result, rows = into
    stored = _put_channels_first(images, model.device)
    truth = torch.from_numpy(labels).to(model.device)
    clean = to_unit(stored)

    known = None if clean_logits is None else torch.from_numpy(clean_logits).to(model.device)
    seen = Victim(model.plain, len(rows), model.batch_size, known)
    logits = predict_clean(seen, clean)
    predicted = torch.where(logits.isfinite().all(1), logits.argmax(1), NO_CLASS)
    right = predicted == truth
    result.clean_prediction[rows] = result.adversarial_prediction[rows] = predicted.cpu().numpy()
    result.forwards[rows] = seen.forwards.cpu().numpy()

    at = rows[right.cpu().numpy()]
    if len(at):
        # Half precision answers wrongly near the boundary, which is all that an attack on decisions sees.
        network = model.exact if settings.knowledge == "decision-based" else model.fast
        stored, clean, truth, logits = stored[right], clean[right], truth[right], logits[right]
        victim = Victim(network, len(at), seen.batch_size, logits)
        goal = build_goal(settings, clean, truth, logits)
        with count_one_round(decided=len(rows) - len(at), entering=len(at)):
            floats = _perturb(model, victim, clean, goal, settings)
        most = victim.count_queries()
        plain, gradients = victim.with_model(model.plain), settings.knowledge == "white-box"
        with observe_headway(None):  # storing the tiles is a small part of the work
            if settings.ball:
                finished, after = to_eight_bit_within(plain, stored, floats, goal, settings.ball, gradients=gradients)
            elif settings.limits:
                finished = to_bytes(floats)
                after = predict(plain, to_unit(finished), plain.rows())
            else:
                finished, after = to_eight_bit(plain, stored, floats, goal, gradients=gradients)
        float_after = predict(plain, floats, plain.rows())
        difference = (finished.double() - stored.double()).flatten(1) / 255
        result.images[at] = finished.permute(0, 2, 3, 1).cpu().numpy()
        result.adversarial_prediction[at] = after.argmax(1).cpu().numpy()
        result.success[at] = goal.reached(after, victim.rows()).cpu().numpy()
        result.l0[at] = difference.count_nonzero(dim=1).cpu().numpy()
        result.l2[at] = measure_lengths(difference).cpu().numpy()
        result.linf[at] = difference.abs().amax(1).cpu().numpy()
        if settings.knowledge in BLACK_BOX:
            queries = torch.where(victim.queries > 0, victim.queries, most)  # rounding can fool a model too
            result.queries[at] = torch.where(goal.reached(after, victim.rows()), queries, 0).cpu().numpy()
        result.float_success[at] = goal.reached(float_after, victim.rows()).cpu().numpy()
        result.float_l2[at] = measure_lengths(floats.double() - clean).cpu().numpy()
        result.forwards[at] += victim.forwards.cpu().numpy()
        result.backwards[at] += victim.backwards.cpu().numpy()
        model.batch_size = min(model.batch_size, plain.batch_size)
    passes = result.forwards[rows] + result.backwards[rows]
    result.seconds[rows] += passes / max(1, passes.sum()) * (time.perf_counter() - begun)


def _perturb(model: PreparedModel, victim: Victim, clean: Tensor, goal: Goal, settings: NamedAttack) -> Tensor:
    """Return the attack's perturbed tiles, as floats like `clean`.

    In half precision a tile can seem to fool the model although it does not. It would leave the attack and count as
    robust. A tile that fools the model can also seem not to. Therefore the attack runs again in float32 on doubtful
    tiles. These miss the goal on the plain model, but reach or almost reach it on the fast model.
    """
    attack = get_attack(settings)
    floats = attack.generate(victim, clean, goal, settings)
    half = model.fast.half_precision
    if half is None or victim.model is model.exact:
        return floats
    rows, plain = victim.rows(), victim.with_model(model.plain)
    logits = predict(victim, floats, rows)
    doubtful = rows[goal.lead(logits, rows) <= HALF_NOISE * torch.finfo(half).eps * logits.abs().amax(1)]
    if not len(doubtful):
        return floats
    again = doubtful[~goal.reached(predict(plain, floats[doubtful], doubtful), doubtful)]
    if len(again):
        part = victim.part(again, model.exact)
        floats[again] = attack.generate(part, clean[again], goal.part(again), settings)
        victim.add(part, again)
        victim.queries[again] = part.queries
    return floats


def round_radius(settings: NamedAttack) -> NamedAttack:
    """Return the attack within the ball that 8-bit images can fill: in linf, whole steps of 1/255.

    Storing the tile loses any change beyond the last whole step. A radius below one step stays as it is, because no
    change within it can be stored.
    """
    if not isinstance(settings, BoundedAttack) or settings.norm != "linf":
        return settings
    steps = count_whole_steps(settings.eps)
    return settings.model_copy(update={"eps": steps / 255}) if steps else settings


def build_goal(settings: NamedAttack, images: Tensor, labels: Tensor, logits: Tensor) -> Goal:
    """Return the goal that the settings define for tiles.

    Parameters
    ----------
    settings
        Settings of the attack. Without a `target`, the goal is any wrong class.
    images, labels, logits
        Clean tiles (n, channels, h, w) in [0, 1], their true classes (n,), and the model's logits (n, classes).
    """
    if not isinstance(settings, TargetedAttack) or settings.target is None:
        return Goal(labels)
    if settings.target == "runner_up":
        return Goal(find_runner_up(logits, labels), targeted=True)
    return Goal(draw_targets(images, labels, logits.shape[1], settings.seed), targeted=True)
