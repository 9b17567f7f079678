"""Pictures of attacks on each model: harmful errors first, and no tile twice for one model."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from raypipe.evaluation.protocols import ITSELF
from raypipe.evaluation.results.artifacts import AdversarialTiles, Artifacts, Predictions
from raypipe.evaluation.results.run import PairingRecord, Run
from raypipe.report.cells import name_family, name_hardening, name_kind
from raypipe.report.layout import Book
from raypipe.report.names import name_attack, name_class, name_class_in_full
from raypipe.report.pictures import Picture, draw_difference, encode_data_uri, read_images
from raypipe.storage.store import Store

GALLERIES = 12
"""Maximum number of models with pictures, so that the report of a large grid can still be sent and opened."""
PICTURES = 36
"""Number of pictures to share among the models. One picture takes some 12 kB with tiles of 64 pixels, and 200 kB with
224 pixels."""
FEWEST, MOST = 3, 8
"""Smallest and largest number of pictures of a model."""
MISSED, ALARM, CONFUSED, WRONG = "missed cancer", "false alarm", "wrong kind of cancer", "wrong class"
HARMS = (MISSED, ALARM, CONFUSED, WRONG)
"""Kinds of errors, most harmful first."""


@dataclass(frozen=True)
class Gallery:
    """Pictures of attacks on one model.

    Parameters
    ----------
    subject
        Id of the model.
    name, below, kind
        Name of the model, its defense, and its kind.
    pictures
        Pictures, harmful errors first.
    note
        Number of fooled tiles, or the reason why there is no picture.
    """

    subject: str
    name: str
    below: str
    kind: str
    pictures: tuple[Picture, ...]
    note: str


class _Choice(NamedTuple):
    """A fooled tile: kind of the error, size of the perturbation, id and position of the tile, and its attack."""

    harm: int
    size: float
    sample_id: str
    place: int
    attack: "_Attacked"


@dataclass(frozen=True, eq=False)
class _Attacked:
    """An attack on a model, with the model's predictions of the clean and the adversarial tiles."""

    pairing: PairingRecord
    tiles: str
    perturbed: AdversarialTiles
    before: Predictions
    after: Predictions


def draw_galleries(
    run: Run, book: Book, store: Store, first: str, artifacts: Artifacts | None = None
) -> Iterator[Gallery]:
    """Yield a gallery for each model that was attacked, at most `GALLERIES`, from the stored tiles.

    There is none if the terms of the data set forbid redistribution of its tiles, because reports are made to be
    shared.

    Parameters
    ----------
    first
        Id of the model that comes first. The undefended model that it was hardened from follows, then other hardened
        models, and then other undefended ones.
    artifacts
        Reader of the store; default: a new one. One that has computed the results has read nearly everything already.

    Raises
    ------
    FileNotFoundError
        If artifacts are missing.
    """
    if run.restriction is not None:
        return
    pairings = _list_pairings(run)
    shown = _order(book, pairings, first)[:GALLERIES]
    artifacts = artifacts or Artifacts(store)
    artifacts.read_ahead(pairing for subject in shown for pairing in pairings[subject])
    clean = {pairing.subject: pairing for pairing in run.pairings if pairing.protocol == "clean"}
    count = min(MOST, max(FEWEST, PICTURES // max(1, len(shown))))
    seen: set[str] = set()
    for subject in shown:
        attacks = [_load(artifacts, pairing, clean[subject]) for pairing in pairings[subject]]
        choices = choose_tiles(run, attacks, count, seen)
        seen |= {choice.sample_id for choice in choices}
        pictures = tuple(_draw(run, store, choices))
        name, below = name_family(book, subject), name_hardening(book, subject)
        yield Gallery(subject, name, below, name_kind(book, subject), pictures, _write_note(attacks))


def count_galleries_left_out(run: Run) -> int:
    """Return the number of attacked models without a gallery because there are too many models."""
    return 0 if run.restriction is not None else max(0, len(_list_pairings(run)) - GALLERIES)


def _list_pairings(run: Run) -> dict[str, list[PairingRecord]]:
    found: dict[str, list[PairingRecord]] = defaultdict(list)
    for pairing in run.pairings:
        if pairing.protocol in ITSELF and pairing.role in ("grid", "evaluation") and pairing.threat:
            found[pairing.subject].append(pairing)
    return found


def _load(artifacts: Artifacts, pairing: PairingRecord, clean: PairingRecord) -> _Attacked:
    perturbed = artifacts.read_adversarials(pairing)
    before = artifacts.read_predictions(clean).at(perturbed.ids)
    return _Attacked(pairing, clean.tiles, perturbed, before, artifacts.read_predictions(pairing))


def _order(book: Book, subjects: Iterable[str], first: str) -> list[str]:
    second = book.find_undefended(first)

    def rank(subject: str) -> tuple[bool, bool, bool]:
        return subject != first, subject != second, book.subjects[subject]["defense"] is None

    return sorted(subjects, key=rank)


def choose_tiles(
    run: Run, attacks: Sequence[_Attacked], count: int, seen: Collection[str] = frozenset()
) -> list[_Choice]:
    """Return the fooled tiles to show: each once, from all attacks in turn, harmful errors and small changes first.

    Parameters
    ----------
    seen
        Ids of tiles that other galleries show. Tiles with an equally harmful error come before them.
    """

    def rank(choice: _Choice) -> tuple[int, bool, float, str]:
        return choice.harm, choice.sample_id in seen, choice.size, choice.sample_id

    ordered = [sorted(_list_fooled(run, attack), key=rank) for attack in attacks]
    found: dict[str, _Choice] = {}
    for turn in zip_longest(*ordered):
        for choice in turn:
            if choice is not None and len(found) < count:
                found.setdefault(choice.sample_id, choice)
    return sorted(found.values(), key=lambda choice: choice.harm)


def _list_fooled(run: Run, attack: _Attacked) -> Iterator[_Choice]:
    norm = attack.pairing.threat.norm if attack.pairing.threat else "l2"
    sizes = attack.perturbed.distortions[norm if norm in attack.perturbed.distortions else "l2"]
    malignant = np.array([label in run.malignant for label in run.labels])
    for place in np.flatnonzero(attack.perturbed.success):
        label, predicted = int(attack.after.labels[place]), int(attack.after.predicted[place])
        harm = HARMS.index(_name_harm(malignant, label, predicted))
        yield _Choice(harm, float(sizes[place]), str(attack.perturbed.ids[place]), int(place), attack)


def _name_harm(malignant: NDArray[np.bool_], label: int, predicted: int) -> str:
    if malignant[label]:
        return CONFUSED if malignant[predicted] else MISSED
    return ALARM if malignant[predicted] else WRONG


def _draw(run: Run, store: Store, choices: Sequence[_Choice]) -> Iterator[Picture]:
    originals: dict[str, NDArray[np.uint8]] = {}
    adversarials: dict[str, NDArray[np.uint8]] = {}
    for attack in {id(choice.attack): choice.attack for choice in choices}.values():
        ids = [choice.sample_id for choice in choices if choice.attack is attack]
        originals |= read_images(store, "tiles", attack.tiles, ids, "test")
        adversarials |= read_images(store, "adversarials", attack.pairing.tiles, ids, "")
    for choice in choices:
        original, adversarial = originals[choice.sample_id], adversarials[choice.sample_id]
        difference, factor = draw_difference(original, adversarial)
        attack, place = choice.attack, choice.place
        before, after = (_predict(run, tested, place) for tested in (attack.before, attack.after))
        label = name_class(run.labels[attack.after.labels[place]])
        yield Picture(
            sample_id=choice.sample_id,
            attack=name_attack(str(attack.pairing.attack)),
            harm=HARMS[choice.harm],
            caption=f"{label} \u2192 {name_class(after[0])} ({100 * after[1]:.0f} %)",
            before=f"{name_class_in_full(before[0])}, {100 * before[1]:.0f} %",
            after=f"{name_class_in_full(after[0])}, {100 * after[1]:.0f} %",
            harmful=HARMS[choice.harm] in (MISSED, ALARM),
            sizes={name: float(sizes[place]) for name, sizes in attack.perturbed.distortions.items()},
            factor=factor,
            clean=encode_data_uri(original),
            adversarial=encode_data_uri(adversarial),
            difference=encode_data_uri(difference),
            side=original.shape[0],
        )


def _predict(run: Run, tested: Predictions, place: int) -> tuple[str, float]:
    shares = softmax(tested.logits[place].astype(np.float64))
    return run.labels[int(tested.predicted[place])], float(shares.max())


def _write_note(attacks: Sequence[_Attacked]) -> str:
    if not any(attack.before.correct.any() for attack in attacks):
        return "The model classifies none of the attacked tiles correctly, so there is no tile to attack."
    texts = (
        f"{name_attack(str(attack.pairing.attack))} {int(attack.perturbed.success.sum())} of "
        f"{int(attack.before.correct.sum())}"
        for attack in attacks
    )
    return f"Correctly classified tiles that each attack turns into errors: {', '.join(texts)}."
