"""Attack 8-bit tiles with any attack, finish in 8 bits, and account for every tile."""

import time
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raypipe.attacks import AttackSettings, attack_for
from raypipe.attacks.quantize import to_eight_bit, to_unit
from raypipe.attacks.tensors import lengths
from raypipe.attacks.victim import Victim, frozen

Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class Adversarials:
    """One entry per tile, in the order of the tiles.

    `raypipe.schemas.ADVERSARIALS` says what each means; `images` are (n, h, w, channels), uint8.
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
    forwards: NDArray[np.int64]
    backwards: NDArray[np.int64]
    seconds: NDArray[np.float64]


def generate(
    model: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    settings: AttackSettings,
    *,
    batch_size: int,
    device: torch.device | str,
) -> Adversarials:
    """Attack tiles and store the result as images.

    Misclassified tiles come back unchanged and are no success. Of the others, a success is a stored 8-bit image that
    the model, asked again, gives another class than the true one.

    Parameters
    ----------
    model
        Already on `device`; float32 (n, channels, h, w) in [0, 1] in, logits out. It is given back as it was.
    images
        (n, h, w, channels), uint8.
    labels
        (n,) true classes.
    settings
        Which attack, and how.
    batch_size
        Tiles attacked at once. It changes the speed and, by float noise, the pixels: 8-bit results of two batch sizes
        differ by single steps of 1/255 in a few values, unless the noise sends an attack another way at a near tie.
    device
        Where to compute.

    Returns
    -------
    Adversarials
        Passes and seconds include the clean prediction and the 8-bit search; a batch's wall time is shared among its
        tiles in proportion to their passes.

    Raises
    ------
    ValueError
        If shapes or types do not fit.

    Notes
    -----
    No global seed is read or changed: what is drawn at random is drawn from the settings' seed and the pixels.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"images {images.dtype} {images.shape}, labels {labels.shape}: expected uint8 (n, h, w, channels) and (n,)"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}: expected at least 1")
    result = _unattacked(images)
    with frozen(model):
        for rows in _batches(np.arange(len(images)), batch_size):
            _predict(model, _load(images[rows], device), result, rows)
        for rows in _batches(np.flatnonzero(result.clean_prediction == labels), batch_size):
            true = torch.from_numpy(labels[rows]).to(device)
            _attack(model, _load(images[rows], device), true, settings, into=(result, rows))
    return result


def _unattacked(images: NDArray[np.uint8]) -> Adversarials:
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
        forwards=zeros(np.int64),
        backwards=zeros(np.int64),
        seconds=zeros(np.float64),
    )


def _batches(rows: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]


def _load(images: NDArray[np.uint8], device: torch.device | str) -> Tensor:
    """8-bit tiles in the network's layout, (n, channels, h, w)."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).contiguous()


def _predict(model: nn.Module, stored: Tensor, result: Adversarials, rows: NDArray[np.int64]) -> None:
    """Fill in what is known of tiles before they are attacked."""
    begun = time.perf_counter()
    victim = Victim(model, len(rows))
    with torch.no_grad():
        predicted = victim.logits(to_unit(stored), victim.rows()).argmax(1).cpu().numpy()
    result.clean_prediction[rows] = predicted
    result.adversarial_prediction[rows] = predicted
    result.forwards[rows] = victim.forwards.cpu().numpy()
    result.seconds[rows] = (time.perf_counter() - begun) / len(rows)


def _attack(
    model: nn.Module,
    stored: Tensor,
    labels: Tensor,
    settings: AttackSettings,
    *,
    into: tuple[Adversarials, NDArray[np.int64]],
) -> None:
    """Attack tiles that are classified right, and write what came of it into their rows of the result."""
    begun = time.perf_counter()
    result, rows = into
    victim = Victim(model, len(rows))
    clean = to_unit(stored)
    floats = attack_for(settings).generate(victim, clean, labels, settings)
    finished, _ = to_eight_bit(victim, stored, floats, labels)
    with torch.no_grad():
        float_prediction = victim.logits(floats, victim.rows()).argmax(1)
        prediction = victim.logits(to_unit(finished), victim.rows()).argmax(1)
    difference = (finished.double() - stored.double()).flatten(1) / 255
    result.images[rows] = finished.permute(0, 2, 3, 1).cpu().numpy()
    result.adversarial_prediction[rows] = prediction.cpu().numpy()
    result.success[rows] = (prediction != labels).cpu().numpy()
    result.l0[rows] = difference.count_nonzero(dim=1).cpu().numpy()
    result.l2[rows] = lengths(difference).cpu().numpy()
    result.linf[rows] = difference.abs().amax(1).cpu().numpy()
    result.float_success[rows] = (float_prediction != labels).cpu().numpy()
    result.float_l2[rows] = lengths(floats.double() - clean).cpu().numpy()
    forwards, backwards = victim.forwards.cpu().numpy(), victim.backwards.cpu().numpy()
    result.forwards[rows] += forwards
    result.backwards[rows] += backwards
    passes = forwards + backwards
    result.seconds[rows] += passes / passes.sum() * (time.perf_counter() - begun)
