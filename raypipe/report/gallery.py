"""Pictures of attacks: the clean tile, the adversarial tile, their difference, and the predictions of both."""

import base64
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image
from scipy.special import softmax

from raypipe.data.reading.png import decode_png
from raypipe.evaluation.results.run import PairingRecord, Run
from raypipe.evaluation.results.tested import Artifacts, Perturbed, Tested
from raypipe.storage.store import Store

MISSED = 2
"""Number of cancers called benign to show per attack, smallest perturbations first."""
GALLERIES = 24
"""Maximum number of galleries, so that the report of a large grid can still be sent and opened. One gallery takes some
50 kB with tiles of 64 pixels, and 800 kB with 224 pixels."""
MIDDLE_GRAY = 128
FLIP, LEAST, MOST = "missed cancer", "smallest perturbation", "largest perturbation"


@dataclass(frozen=True)
class Prediction:
    """The class that a model predicts for a tile, and its confidence in [0, 1]."""

    label: str
    confidence: float


@dataclass(frozen=True)
class Picture:
    """A tile and its attack.

    Parameters
    ----------
    sample_id
        Id of the tile.
    reason
        Reason why the tile is shown.
    label
        True class.
    before, after
        Predictions of the clean and of the adversarial tile.
    sizes
        Sizes of the perturbation by norm, in the units of `raypipe.storage.schemas.ADVERSARIALS`.
    factor
        Factor that amplifies the difference.
    clean, adversarial, difference
        Images, as data URIs. In the difference, middle gray means no change.
    side
        Side length of an image, in pixels.
    """

    sample_id: str
    reason: str
    label: str
    before: Prediction
    after: Prediction
    sizes: Mapping[str, float]
    factor: int
    clean: str
    adversarial: str
    difference: str
    side: int


@dataclass(frozen=True)
class Gallery:
    """Pictures of one attack on one undefended model. There are none if the attack fooled the model on no tile."""

    model: str
    attack: str
    norm: str
    pictures: tuple[Picture, ...]


def galleries(run: Run, store: Store) -> Iterator[Gallery]:
    """Yield a gallery for every undefended model and attack of the grid, at most `GALLERIES`, from the stored tiles.

    There is none if the terms of the data set forbid redistribution of its tiles, because reports are made to be
    shared.

    Raises
    ------
    FileNotFoundError
        If artifacts are missing.
    """
    if run.restriction is not None:
        return
    artifacts = Artifacts(store)
    clean = {pairing.subject: pairing for pairing in run.pairings if pairing.protocol == "clean"}
    pictured = _list_pairings(run)[:GALLERIES]
    artifacts.read_ahead(pictured)
    attacks = [_AttackedTiles.load(run, artifacts, pairing, clean[pairing.subject]) for pairing in pictured]
    wanted: dict[str, set[str]] = defaultdict(set)
    for attack in attacks:
        wanted[attack.clean.tiles] |= set(attack.ids)
    originals = {key: _images(store, "tiles", key, ids, "test") for key, ids in wanted.items()}
    for attack in attacks:
        pictures = attack.pictures(run, store, originals[attack.clean.tiles])
        yield Gallery(attack.pairing.subject, str(attack.pairing.attack), attack.norm, tuple(pictures))


def galleries_left_out(run: Run) -> int:
    """Return the number of pairs of model and attack without a gallery because there are too many pairs."""
    return 0 if run.restriction is not None else max(0, len(_list_pairings(run)) - GALLERIES)


def _list_pairings(run: Run) -> list[PairingRecord]:
    return [
        pairing
        for pairing in run.pairings
        if pairing.protocol == "white-box" and pairing.role == "grid" and pairing.attack and pairing.threat
    ]


@dataclass(frozen=True, eq=False)
class _AttackedTiles:
    """An attack and the model's predictions of the clean and the adversarial tiles.

    `places` holds the positions of the tiles to show, with the reasons.
    """

    pairing: PairingRecord
    clean: PairingRecord
    perturbed: Perturbed
    before: Tested
    after: Tested
    places: Mapping[int, str]

    @classmethod
    def load(cls, run: Run, artifacts: Artifacts, pairing: PairingRecord, clean: PairingRecord) -> Self:
        perturbed, after = artifacts.perturbed(pairing), artifacts.tested(pairing)
        norm = pairing.threat.norm if pairing.threat and pairing.threat.norm in perturbed.distortions else "l2"
        places = dict(_choose_tiles(run, perturbed, after, norm))
        return cls(pairing, clean, perturbed, artifacts.tested(clean).at(perturbed.ids), after, places)

    @property
    def norm(self) -> str:
        return self.pairing.threat.norm if self.pairing.threat else ""

    @property
    def ids(self) -> list[str]:
        return [str(self.perturbed.ids[place]) for place in self.places]

    def pictures(self, run: Run, store: Store, originals: Mapping[str, NDArray[np.uint8]]) -> Iterator[Picture]:
        adversarials = _images(store, "adversarials", self.pairing.tiles, self.ids, "")
        for (place, reason), sample_id in zip(self.places.items(), self.ids, strict=True):
            original, adversarial = originals[sample_id], adversarials[sample_id]
            change = adversarial.astype(np.int16) - original
            factor = max(1, (MIDDLE_GRAY - 1) // max(1, int(np.abs(change).max())))
            yield Picture(
                sample_id=sample_id,
                reason=reason,
                label=run.labels[self.after.labels[place]],
                before=_read_prediction(run, self.before, place),
                after=_read_prediction(run, self.after, place),
                sizes={name: float(sizes[place]) for name, sizes in self.perturbed.distortions.items()},
                factor=factor,
                clean=data_uri(original),
                adversarial=data_uri(adversarial),
                difference=data_uri(np.clip(MIDDLE_GRAY + factor * change, 0, 255).astype(np.uint8)),
                side=original.shape[0],
            )


def _choose_tiles(run: Run, perturbed: Perturbed, after: Tested, norm: str) -> Iterator[tuple[int, str]]:
    """Yield the positions of the tiles to show, with the reason.

    A tile with several reasons appears once, with all of them.
    """
    sizes = perturbed.distortions[norm]
    order = [int(place) for place in np.argsort(sizes, kind="stable") if perturbed.success[place]]
    if not order:
        return
    malignant = np.isin(np.arange(len(run.labels)), [run.labels.index(label) for label in run.malignant])
    missed = [place for place in order if malignant[after.labels[place]] and not malignant[after.predicted[place]]]
    reasons = dict.fromkeys(missed[:MISSED], FLIP)
    for place, reason in ((order[0], LEAST), (order[-1], MOST)):
        reasons[place] = f"{reasons[place]}, {reason}" if place in reasons else reason
    yield from reasons.items()


def _read_prediction(run: Run, tested: Tested, place: int) -> Prediction:
    shares = softmax(tested.logits[place].astype(np.float64))
    return Prediction(run.labels[int(tested.predicted[place])], float(shares.max()))


def _images(store: Store, kind: str, key: str, ids: Iterable[str], split: str) -> dict[str, NDArray[np.uint8]]:
    wanted = set(ids)
    found: dict[str, NDArray[np.uint8]] = {}
    for shard in store.shards(kind, key, split):
        table = store.read_table(shard, columns=["sample_id", "image"])
        table = table.filter(pc.is_in(table["sample_id"], pc.cast(list(wanted), "string")))
        for row in table.to_pylist():
            found[row["sample_id"]] = decode_png(row["image"]["bytes"])
    if missing := wanted - set(found):
        raise FileNotFoundError(
            f"{kind}/{key} lacks {len(missing)} tiles of the run: its artifacts do not belong together"
        )
    return found


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return an RGB image, uint8 (height, width, 3), as a lossless data URI for a page."""
    buffer = io.BytesIO()
    # With the default settings a tile of tissue takes eight times as long and becomes only 1 to 2 % smaller.
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, method=1, quality=20)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
