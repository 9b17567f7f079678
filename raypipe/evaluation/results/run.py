"""What a run tested, by the keys of its artifacts: all that its figures are computed from, without the data set."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, ValidationError

from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.threat import ThreatModel
from raypipe.base.settings import ID, Settings, near_matches
from raypipe.storage.store import Store, damaged

RUN_FILE = "run.json"
LEAKY, SYNTHETIC, WITHHELD = "LEAKY", "SYNTHETIC", "NOT FOR REDISTRIBUTION"
GIVEN = "given"
"""The split of tiles that a model was given to be tested on, whatever it was trained on."""

Protocol = Literal["clean", "white-box", "static", "adaptive", "transfer"]
"""``clean`` tiles; ``white-box``: an undefended model attacked itself; ``adaptive``: the same for a hardened model;
``static``: tiles made against it before it was hardened; ``transfer``: made against another undefended backbone."""
ITSELF: tuple[Protocol, ...] = ("white-box", "adaptive")
"""The protocols of a model that is attacked itself."""
Role = Literal["grid", "evaluation", "curve", "check"]
"""Why a model is attacked: for the grid, the evaluation's own attacks, a curve, or a sanity check."""


class SubjectRecord(Settings):
    """A model under test.

    Parameters
    ----------
    id
        Unique in the run.
    model, backbone
        Its id in the experiment, and the backbone behind it.
    split, seed
        Of the tiles it was trained on, and of its training.
    defense, hardened_on
        The ids of the defense and of the attack whose tiles it was hardened with; None where there is none.
    undefended
        The id of the clean model that it was hardened from; None if it is one.
    key
        Of its artifact.
    """

    id: str
    model: str
    backbone: str
    split: str
    seed: int
    defense: str | None
    hardened_on: str | None
    undefended: str | None
    key: str

    def columns(self) -> dict[str, Any]:
        """`raypipe.storage.schemas.SUBJECT`."""
        return {"subject": self.id, **self.model_dump(exclude={"id", "undefended", "key"})}


class PairingRecord(Settings):
    """A model under test and the tiles that it is tested on.

    Parameters
    ----------
    subject
        The model's id.
    protocol, role
        Whose tiles they are, and why it is tested on them.
    attack, method, settings
        The attack's id, its name, and all its settings; None for clean tiles.
    source
        The id of the model that the attack was run against; None for clean tiles.
    threat
        What the attacker may do; None for clean tiles.
    tiles, predictions
        Keys of the artifacts: the tiles (``adversarials``, or ``tiles`` if clean), and what the model made of them.
    """

    subject: str
    protocol: Protocol
    role: Role
    attack: str | None = None
    method: str | None = None
    settings: dict[str, Any] | None = None
    source: str | None = None
    threat: ThreatModel | None = None
    tiles: str
    predictions: str


class CellRecord(Settings):
    """A cell and its artifact: see `raypipe.plan.cells.Cell`."""

    stage: str
    name: str
    model: str
    kind: str
    key: str


class Run(Settings):
    """A run.

    Parameters
    ----------
    name
        Its name.
    labels, malignant
        The classes, and those of them that are cancer; empty where unknown.
    stamps
        By split: what must stand beside every figure measured on its tiles.
    replicates, seed
        Number of replicates, and seed, of the calibration error's bootstrap.
    data
        The data set, by the name of its kind.
    restriction
        Why no picture of its tiles may be passed on; None where nothing forbids it.
    radii
        By norm: at which the worst case is given.
    subjects, pairings
        What was tested, on what.
    diagnostics
        By subject: the key of its diagnostics.
    certificates
        By subject: the key of what is proved of it.
    cells
        All that was computed for it.
    """

    name: str
    labels: tuple[str, ...]
    malignant: tuple[str, ...]
    stamps: dict[str, tuple[str, ...]]
    replicates: int
    seed: int
    data: str = ""
    restriction: str | None = None
    radii: dict[str, tuple[float, ...]]
    subjects: tuple[SubjectRecord, ...]
    pairings: tuple[PairingRecord, ...]
    diagnostics: dict[str, str]
    certificates: dict[str, str] = Field(default_factory=dict)
    cells: tuple[CellRecord, ...] = ()


def stamps(manifest: dict[str, Any], restriction: str | None = None) -> tuple[str, ...]:
    """What must stand beside every figure measured on these tiles.

    Parameters
    ----------
    manifest
        Of the tiles' artifact.
    restriction
        Why no picture of them may be passed on, if anything forbids it.
    """
    found = []
    split, share = manifest["split"], manifest["leakage"]
    if split == "paper" or (split == "official" and share != 0):
        known = f"{share:.1%} of the test tiles have a sibling among the training tiles" if share is not None else (
            f"{'random' if split == 'paper' else 'published'} split; siblings are unknown, so nothing shows that it "
            "does not leak"
        )  # fmt: skip
        found.append(f"{LEAKY}: {known}")
    if manifest["split"] == GIVEN:
        found.append(f"{LEAKY}?: whether the model was trained on these tiles, or on siblings of them, is not known")
    if manifest["synthetic"]:
        found.append(f"{SYNTHETIC}: computer-drawn tissue; no figure here speaks of real images")
    if restriction is not None:
        found.append(f"{WITHHELD}: {restriction}; pictures of tiles stay in the store")
    return tuple(found)


def settings_record(settings: NamedAttack, radii: Sequence[float] = ()) -> dict[str, Any]:
    """Return all that was asked of an attack: its settings, and its radii where it was run at several."""
    asked = settings.model_dump(mode="json")
    return {**asked, "radii": list(radii)} if radii else asked


def write_run(store: Store, run: Run) -> None:
    """Keep what a run tested."""
    store.write_record(f"runs/{run.name}/{RUN_FILE}", run.model_dump(mode="json"))


def read_run(store: Store, name: str) -> Run:
    """What an earlier run tested.

    Raises
    ------
    FileNotFoundError
        If there is none of that name; the message lists the runs there are.
    raypipe.storage.store.StoreError
        If a newer raypipe wrote it, or it is damaged.
    """
    path = find_in_run(store, name, RUN_FILE, "finished run")
    try:
        return Run.model_validate(store.read_record(path))
    except ValidationError as error:
        raise damaged(store.path(path), error) from error


def find_in_run(store: Store, name: str, file: str, what: str) -> str:
    """The path of a file in a run's folder.

    Raises
    ------
    FileNotFoundError
        If it is not there; the message says that there is no such `what`, and which there are.
    """
    path = f"runs/{name}/{file}"
    if not ID.match(name) or not store.exists(path):
        runs = [run for run in store.list_directories("runs") if store.exists(f"runs/{run}/{file}")]
        there = f"there are: {', '.join(runs)}{near_matches(name, runs)}" if runs else "there are none yet"
        raise FileNotFoundError(f"no {what} {name!r} in {store.root}; {there}")
    return path
