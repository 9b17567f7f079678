"""The base of raypipe's attacks as evasion attacks of the Adversarial Robustness Toolbox."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from art.attacks.attack import EvasionAttack
from art.estimators.classification import PyTorchClassifier
from art.utils import check_and_transform_label_format
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from raypipe.attacks import ATTACKS, get_attack
from raypipe.attacks.art.evasion.unit_images import UnitImages
from raypipe.attacks.base import NamedAttack, TargetedAttack
from raypipe.attacks.engine.active import predict
from raypipe.attacks.engine.generate import BLOCK_BYTES, build_goal
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.prepare import PreparedModel, prepare
from raypipe.attacks.engine.tensors import clear
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.base.errors import notify
from raypipe.base.settings import suggest_matches
from raypipe.models.outputs import LogProbabilities, describe_probabilities, recognize_probabilities

BATCH_SIZE = 32
"""Number of images attacked at once. The toolbox's own default for several attacks, 1, wastes most of the time."""


class RaypipeAttack(EvasionAttack):  # type: ignore[misc]
    """The base of all attacks in this package; each subclass defines the settings that it runs with.

    Parameters
    ----------
    classifier
        An `art.estimators.classification.PyTorchClassifier` of images with `clip_values`. The attack goes through its
        preprocessing but not through its postprocessing, because it attacks the logits.
    batch_size
        Number of images attacked at once. The next image replaces one that is done. Lowered when memory runs out.
    targeted
        True if `y` are classes to reach, False if they are classes to leave.
    verbose
        Accepted for compatibility with the toolbox; there is no progress bar.
    """

    _estimator_requirements = (PyTorchClassifier,)
    THEIRS: ClassVar[Mapping[str, str]] = {}
    """The toolbox's name of each raypipe setting, for messages."""
    FAILURES_ARE_CLEAN: ClassVar[bool] = False
    """True if a failure is returned as the clean image, as in the toolbox; otherwise it is the attack's last image."""
    NEEDS_TARGETS: ClassVar[bool] = True
    """True if a targeted attack requires `y`. Otherwise, without `y`, the attack leads away from the prediction."""

    def __init__(self, classifier: Any, *, batch_size: int, targeted: bool, verbose: bool) -> None:
        super().__init__(estimator=classifier)
        self.batch_size = batch_size
        self.targeted = targeted
        self.verbose = verbose

    @property
    def span(self) -> float:
        """Length of the range of the classifier's pixel values; it is 1 for raypipe's images."""
        return UnitImages(self.estimator).span

    def settings(self) -> NamedAttack:
        """Return the raypipe settings that the attack runs with."""
        raise NotImplementedError

    def ladder(self) -> Sequence[NamedAttack]:
        """Return settings to run one after the other, each on the images on which the previous ones failed."""
        return [self.settings()]

    def generate(self, x: NDArray[Any], y: NDArray[Any] | None = None, **kwargs: Any) -> NDArray[np.float32]:
        """Perturb images.

        Parameters
        ----------
        x
            (n, *classifier.input_shape), within `clip_values`.
        y
            Classes to leave, or classes to reach with `targeted`: (n,) indices, or (n, classes) one-hot. None means
            that the attack leaves the model's predictions.
        **kwargs
            No further argument is accepted, not even a mask, which some of the toolbox's attacks take.

        Returns
        -------
        numpy.ndarray
            Perturbed images like `x`, float32, within `clip_values`. Unchanged values keep every bit. An image that has
            already left or reached its class is returned unchanged.

        Raises
        ------
        ValueError
            If shapes do not match, if `targeted` is set without `y`, or if there are unknown arguments.
        """
        if kwargs:
            raise ValueError(f"{type(self).__name__} takes no {', '.join(kwargs)}: whole images are attacked")
        images = np.asarray(x, dtype=np.float32)
        if images.ndim != 4 or images.shape[1:] != tuple(self.estimator.input_shape):
            raise ValueError(f"images {images.shape}: expected (n, *{tuple(self.estimator.input_shape)})")
        classes = self._read_classes(y, len(images))
        ladder, result = self._validate_ladder(), images.copy()
        unit = UnitImages(self.estimator)
        model = self._prepare(unit)
        block = max(4 * self.batch_size, BLOCK_BYTES // (4 * max(1, images[:1].size)))
        with freeze(model.plain):
            for begin in range(0, len(images), block):
                rows = slice(begin, begin + block)
                labels = None if classes is None else classes[rows]
                result[rows] = self._perturb(unit, model, images[rows], labels, ladder)
        return result

    def _read_classes(self, y: NDArray[Any] | None, count: int) -> NDArray[np.int64] | None:
        if y is None:
            if self.targeted and self.NEEDS_TARGETS:
                raise ValueError("Target labels `y` need to be provided for a targeted attack.")
            return None
        encoded = check_and_transform_label_format(np.asarray(y), nb_classes=self.estimator.nb_classes)
        if len(encoded) != count:
            raise ValueError(f"{len(encoded)} labels for {count} images")
        classes: NDArray[np.int64] = encoded.argmax(1)
        return classes

    def _prepare(self, unit: UnitImages) -> PreparedModel:
        """Prepare the model again, because its weights may have changed."""
        shape = np.moveaxis(np.empty(self.estimator.input_shape), 0 if unit.channels_first else 2, 0).shape
        device = self.estimator.device
        network: nn.Module = unit
        with freeze(unit):
            outputs = unit(torch.rand(4, *shape, generator=torch.Generator().manual_seed(0)).to(device))
        if kind := recognize_probabilities(outputs):
            notify(describe_probabilities(kind))
            network = LogProbabilities(unit, kind)
        return prepare(network, (shape[0], shape[1], shape[2]), device=device, batch_size=self.batch_size)

    def _perturb(
        self,
        unit: UnitImages,
        model: PreparedModel,
        x: NDArray[np.float32],
        y: NDArray[np.int64] | None,
        ladder: Sequence[NamedAttack],
    ) -> NDArray[np.float32]:
        theirs = torch.from_numpy(x).to(model.device)
        clean = unit.to_ours(theirs)
        plain = Victim(model.plain, len(x), model.batch_size)
        logits = predict(plain, clean, plain.rows())
        classes = logits.argmax(1) if y is None else torch.from_numpy(y).to(model.device)
        aimed = self.targeted and y is not None
        goal = Goal(classes, targeted=True) if aimed else build_goal(ladder[0], clean, classes, logits)
        found = clean.clone()
        for settings in ladder:
            left = ~goal.reached(logits, plain.rows())
            if bool(left.any()):
                aims = replace(goal, classes=goal.classes[left])
                found[left], logits[left] = _attack(model, clean[left], aims, settings)
        if self.FAILURES_ARE_CLEAN:
            failed = _has_failed(goal, logits, getattr(ladder[0], "confidence", 0.0))
            found[failed] = clean[failed]
        made = torch.where(unit.arranged(found == clean), theirs, unit.to_theirs(found))
        perturbed: NDArray[np.float32] = made.clamp(unit.low, unit.low + unit.span).cpu().numpy()
        return perturbed

    def _validate_ladder(self) -> Sequence[NamedAttack]:
        try:
            return self.ladder()
        except ValidationError as error:
            places = [".".join(map(str, problem["loc"])) for problem in error.errors()]
            problems = [
                f"{self.THEIRS.get(place, place)}: {problem['msg']}"
                for place, problem in zip(places, error.errors(), strict=True)
            ]
            raise ValueError(f"{type(self).__name__}: {'; '.join(problems)}") from None

    def _check_params(self) -> None:
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise ValueError(f"batch_size = {self.batch_size}: expected a positive integer")
        for name in ("targeted", "verbose"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} = {getattr(self, name)}: expected True or False")  # noqa: TRY004  as the toolbox
        UnitImages(self.estimator)
        self._validate_ladder()


def _attack(model: PreparedModel, images: Tensor, goal: Goal, settings: NamedAttack) -> tuple[Tensor, Tensor]:
    """Attack the fast model, and then the plain model on images that fool only the fast one.

    Such images lie close to the decision boundary. Return the images and the plain model's logits for them.
    """
    attack = get_attack(settings).generate
    fast = Victim(model.fast, len(images), model.batch_size)
    found = attack(fast, images, goal, settings)
    plain = fast.with_model(model.plain)
    logits = predict(plain, found, plain.rows())
    failed = (~goal.reached(logits, plain.rows())).nonzero()[:, 0]
    if len(failed):
        lost = failed[goal.reached(predict(fast, found[failed], failed), failed)]
        if len(lost):
            again = Victim(model.plain, len(lost), fast.batch_size)
            found[lost] = attack(again, images[lost], replace(goal, classes=goal.classes[lost]), settings)
            logits[lost] = predict(plain, found[lost], lost)
    model.batch_size = min(model.batch_size, fast.batch_size, plain.batch_size)
    return found, logits


def _has_failed(goal: Goal, logits: Tensor, confidence: float) -> Tensor:
    """Return (n,) booleans, True where the goal is not reached or the lead is clearly below the confidence."""
    rows = torch.arange(len(logits), device=logits.device)
    return ~goal.reached(logits, rows) | clear(goal.lead(logits, rows) + confidence, logits)


@functools.cache
def get_attack_class(name: str) -> type[RaypipeAttack]:
    """Return the toolbox class of any raypipe attack.

    Parameters
    ----------
    name
        Name of the attack, a key of `raypipe.attacks.ATTACKS`.

    Returns
    -------
    type
        The class of the attack. Its constructor is ``(classifier, batch_size=32, targeted=False, verbose=True,
        **settings)``, where the settings are the fields of the attack's own settings class. `set_params` also accepts
        them.

    Raises
    ------
    ValueError
        If there is no such attack; the message lists the known attacks.

    Examples
    --------
    >>> attack = attack_class("deepfool")(classifier, overshoot=0.05)  # doctest: +SKIP
    >>> adversarial = attack.generate(x)  # doctest: +SKIP
    """
    if name not in ATTACKS:
        raise ValueError(f"no attack {name!r}: expected one of {', '.join(ATTACKS)}{suggest_matches(name, ATTACKS)}")
    record = ATTACKS[name].settings
    fields = [field for field in record.model_fields if field not in NamedAttack.model_fields]
    own = {
        "__doc__": f"The attack `{name}` with the settings of `{record.__module__}.{record.__qualname__}`.",
        "__module__": __name__,
        "record": record,
        "attack_params": [*EvasionAttack.attack_params, "batch_size", "targeted", "verbose", *fields],
    }
    return type(record.__name__, (_Registered,), own)


class _Registered(RaypipeAttack):
    """An attack whose arguments are the fields of its settings class, under the same names."""

    record: ClassVar[type[NamedAttack]]

    def __init__(
        self,
        classifier: Any,
        batch_size: int = BATCH_SIZE,
        targeted: bool = False,
        verbose: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(classifier, batch_size=batch_size, targeted=targeted, verbose=verbose)
        for name, value in self.record(**settings):
            setattr(self, name, value)
        self._check_params()

    def settings(self) -> NamedAttack:
        return self.record(**{name: getattr(self, name) for name in self.record.model_fields})

    def _check_params(self) -> None:
        super()._check_params()
        if self.targeted and not issubclass(self.record, TargetedAttack):
            raise ValueError(f"{type(self).__name__} cannot aim at a class")
        if self.targeted and self.target is not None:
            raise ValueError("target and targeted: either the attack chooses the classes to reach, or `y` says them")
        if self.targeted:
            self.record(**dict(self.settings()) | {"target": "random"})  # Fails if other settings forbid it.
