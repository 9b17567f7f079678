"""Record of a run: its models, the tiles that they are tested on, and the keys of its artifacts.

All figures are computed from these artifacts, without the data set.
"""

from typing import Any, Final

from pydantic import Field, ValidationError

from raypipe.base.norms import Norm
from raypipe.base.settings import ID, Settings, suggest_matches
from raypipe.base.threat import ThreatModel
from raypipe.data.reading.deep_images import describe_dark
from raypipe.evaluation.protocols import Protocol, Role
from raypipe.storage.errors import describe_damage
from raypipe.storage.store import Store

RUN_FILE = "run.json"
LEAKY, SYNTHETIC, DARK, WITHHELD = "LEAKY", "SYNTHETIC", "DARK", "NOT FOR REDISTRIBUTION"
GIVEN: Final = "given"
"""Name of the split of tiles that are given only to test a model, whatever the model was trained on."""


class SubjectRecord(Settings):
    """A model under test.

    Parameters
    ----------
    id
        Id of the tested model, unique in the run.
    model, backbone
        Id of the model in the experiment, and its backbone.
    split, seed
        Split of the tiles that it was trained on, and seed of its training.
    defense, hardened_on
        Ids of the defense, and of the attack whose tiles hardened the model; None where there is none.
    undefended
        Id of the undefended model that it was hardened from; None if it is undefended itself.
    key
        Content key of its artifact.
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
        """Return the columns `raypipe.evaluation.results.schemas.SUBJECT`."""
        return {"subject": self.id, **self.model_dump(exclude={"id", "undefended", "key"})}


class PairingRecord(Settings):
    """A model under test and the tiles that it is tested on.

    Parameters
    ----------
    subject
        Id of the model.
    protocol, role
        Protocol of the tiles, and reason for the attack.
    attack, method, settings
        The attack's id, its name, and all its settings; None for clean tiles.
    source
        Id of the model that the attack was run against; None for clean tiles.
    threat
        Threat model; None for clean tiles.
    tiles, predictions
        Keys of the artifacts: the tiles (``adversarials``, or ``tiles`` if clean), and the model's predictions of them.
    after
        Id of the attack whose fooled tiles this attack skipped. Its artifact has the examples of that attack for them.
        None if it ran on all tiles.
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
    after: str | None = None


class CellRecord(Settings):
    """A cell and its artifact: see `raypipe.plan.cells.Cell`."""

    stage: str
    name: str
    model: str
    kind: str
    key: str


class CorruptedRecord(Settings):
    """A model's predictions of tiles with one corruption.

    Parameters
    ----------
    subject
        Id of the model.
    corruption, levels
        Name in `raypipe.corruptions.CORRUPTIONS`, and the levels of the severities 1 to 5.
    key
        Key of the predictions.
    """

    subject: str
    corruption: str
    levels: tuple[float, ...]
    key: str


class UniversalRecord(Settings):
    """A model's predictions of tiles with a universal perturbation.

    Parameters
    ----------
    subject, source
        Ids of the model, and of the model that the pattern was made for.
    norm, eps
        Norm and size of the pattern.
    tiles, pattern, key
        Keys of the clean tiles, of the pattern and of the predictions.
    """

    subject: str
    source: str
    norm: Norm
    eps: float
    tiles: str
    pattern: str
    key: str


class ExternalRecord(Settings):
    """A model's predictions of an external test set.

    Parameters
    ----------
    subject, set_id
        Ids of the model and of the set.
    labels
        Class of the run for each class of the set. Tiles of other classes were left out.
    tiles, predictions
        Keys of the set's tiles and of the predictions.
    overlap
        Key of the search for siblings of the training tiles; None if these are unknown.
    """

    subject: str
    set_id: str
    labels: dict[str, str]
    tiles: str
    predictions: str
    overlap: str | None


class Run(Settings):
    """The record of a run.

    Parameters
    ----------
    name
        Name of the run.
    labels, malignant
        All classes, and the classes that are cancer; the latter are empty if unknown.
    stamps
        Warnings that must stand next to every figure measured on the tiles of a split, by split.
    replicates, seed
        Number of replicates, and seed, of the bootstrap of the calibration error.
    data
        Name of the data set's kind.
    restriction
        Reason why pictures of its tiles must not be redistributed; None if nothing forbids it.
    radii
        Radii at which the worst case is reported, by norm.
    paper_tables
        True if the report has the tables of the reproduced paper.
    subjects, pairings
        The models under test, and the pairs of model and tiles.
    diagnostics
        Key of the diagnostics, by subject.
    certificates
        Key of the certificates, by subject.
    corrupted
        The predictions of corrupted tiles.
    external
        The predictions of external test sets.
    universal
        The predictions of tiles with universal perturbations.
    cells
        All cells that the run computed or reused.
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
    paper_tables: bool = False
    subjects: tuple[SubjectRecord, ...]
    pairings: tuple[PairingRecord, ...]
    diagnostics: dict[str, str]
    certificates: dict[str, str] = Field(default_factory=dict)
    corrupted: tuple[CorruptedRecord, ...] = ()
    external: tuple[ExternalRecord, ...] = ()
    universal: tuple[UniversalRecord, ...] = ()
    cells: tuple[CellRecord, ...] = ()

    def find_pairings(self, subject: str) -> list[PairingRecord]:
        """Return the pairings of a model, by its id."""
        return [pairing for pairing in self.pairings if pairing.subject == subject]

    def find_clean_pairing(self, subject: str) -> PairingRecord:
        """Return the pairing of a model with all clean test tiles."""
        (clean,) = (pairing for pairing in self.find_pairings(subject) if pairing.protocol == Protocol.CLEAN)
        return clean


def derive_stamps(manifest: dict[str, Any], restriction: str | None = None) -> tuple[str, ...]:
    """Return the warnings that must stand next to every figure measured on these tiles.

    Parameters
    ----------
    manifest
        Manifest of the tiles' artifact.
    restriction
        Reason why pictures of the tiles must not be redistributed; None if nothing forbids it.
    """
    warnings = []
    split, share = manifest["split"], manifest["leakage"]
    if split == "paper" or (split == "official" and share != 0):
        reason = f"{share:.1%} of the test tiles have a sibling among the training tiles" if share is not None else (
            f"{'random' if split == 'paper' else 'published'} split; siblings are unknown, so leakage cannot be ruled "
            "out"
        )  # fmt: skip
        warnings.append(f"{LEAKY}: {reason}")
    if manifest["split"] == GIVEN:
        warnings.append(f"{LEAKY}?: it is unknown if the model was trained on these tiles or on siblings of them")
    if manifest["synthetic"]:
        warnings.append(f"{SYNTHETIC}: synthetic tissue; no figure here applies to real images")
    if 2 * manifest.get("dark", 0) >= manifest.get("tiles", 0) > 0:  # a few dark images may be background
        warnings.append(f"{DARK}: {describe_dark(manifest['dark'], manifest['brightest'])}")
    if restriction is not None:
        warnings.append(f"{WITHHELD}: {restriction}; no picture of a tile leaves the store")
    return tuple(warnings)


def write_run(store: Store, run: Run) -> None:
    """Store the record of a run."""
    store.write_record(f"runs/{run.name}/{RUN_FILE}", run.model_dump(mode="json"))


def read_run(store: Store, name: str) -> Run:
    """Return the record of an earlier run.

    Raises
    ------
    FileNotFoundError
        If there is no run of that name. The message lists the existing runs.
    raypipe.storage.errors.StoreError
        If a newer raypipe wrote the record, or the record is damaged.
    """
    path = find_in_run(store, name, RUN_FILE, "finished run")
    try:
        return Run.model_validate(store.read_record(path))
    except ValidationError as error:
        raise describe_damage(store.path(path), error) from error


def find_in_run(store: Store, name: str, file: str, what: str) -> str:
    """Return the path of a file in a run's folder.

    Raises
    ------
    FileNotFoundError
        If the file does not exist. The message names the missing `what` and lists the runs that have one.
    """
    path = f"runs/{name}/{file}"
    if not ID.match(name) or not store.exists(path):
        runs = [run for run in store.list_directories("runs") if store.exists(f"runs/{run}/{file}")]
        hint = f"there are: {', '.join(runs)}{suggest_matches(name, runs)}" if runs else "there are none yet"
        raise FileNotFoundError(f"no {what} {name!r} in {store.root}; {hint}")
    return path
