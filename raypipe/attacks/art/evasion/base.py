"""Any attack of ours as an evasion attack of the Adversarial Robustness Toolbox."""

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
from torch import Tensor

from raypipe.attacks import ATTACKS, attack_for
from raypipe.attacks.art.evasion.unit_images import UnitImages
from raypipe.attacks.base import NamedAttack, TargetedAttack
from raypipe.attacks.engine.active import predict
from raypipe.attacks.engine.generate import BLOCK_BYTES, goal_of
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.prepare import MemoryFormat, PreparedModel, prepare
from raypipe.attacks.engine.tensors import clear
from raypipe.attacks.engine.victim import Victim, frozen
from raypipe.base.settings import near_matches

BATCH_SIZE = 32
"""Images in work at once. The toolbox's own default for several attacks, 1, wastes most of the time."""
PAY_FOR_A_TRIAL = 128
"""Images after which the memory format is found by trial; for fewer the trial takes longer than it saves."""


class RaypipeAttack(EvasionAttack):  # type: ignore[misc]
    """The base of all attacks here; subclasses say what settings they run with.

    Parameters
    ----------
    classifier
        An `art.estimators.classification.PyTorchClassifier` of images with `clip_values`. Preprocessing is honoured,
        postprocessing is not: what is attacked are the logits.
    batch_size
        Images in work at once; a finished one leaves its place to the next. Lowered when memory runs out.
    targeted
        Whether `y` are classes to be reached, instead of classes to be left.
    verbose
        Accepted for the toolbox's sake; there is no progress bar.
    """

    _estimator_requirements = (PyTorchClassifier,)
    THEIRS: ClassVar[Mapping[str, str]] = {}
    """The toolbox's names of our settings, for messages."""
    FAILURES_ARE_CLEAN: ClassVar[bool] = False
    """Whether a failure comes back as the clean image, as the toolbox gives it; else where it got to."""
    NEEDS_TARGETS: ClassVar[bool] = True
    """Whether a targeted attack must be told the classes; else it leads away from the prediction where it is not."""

    def __init__(self, classifier: Any, *, batch_size: int, targeted: bool, verbose: bool) -> None:
        super().__init__(estimator=classifier)
        self.batch_size = batch_size
        self.targeted = targeted
        self.verbose = verbose
        self._memory_format: MemoryFormat | None = None
        self._seen = 0

    @property
    def span(self) -> float:
        """The length of the range of the pixels; ours is 1."""
        return UnitImages(self.estimator).span

    def settings(self) -> NamedAttack:
        """The record of ours that the attack runs with."""
        raise NotImplementedError

    def ladder(self) -> Sequence[NamedAttack]:
        """Several such records, if each is for the images that the one before has failed on."""
        return [self.settings()]

    def generate(self, x: NDArray[Any], y: NDArray[Any] | None = None, **kwargs: Any) -> NDArray[np.float32]:
        """Perturb images.

        Parameters
        ----------
        x
            (n, *classifier.input_shape), within `clip_values`.
        y
            The classes to be left, or with `targeted` those to be reached: (n,) indices, or (n, classes) one-hot. None:
            the model's predictions are to be left.
        **kwargs
            None is known: a mask, which some of the toolbox's attacks take, is refused.

        Returns
        -------
        numpy.ndarray
            Like `x`, float32, within `clip_values`, every unchanged value to the last bit what it was. An image that
            has left or reached its class from the start comes back unchanged.

        Raises
        ------
        ValueError
            If shapes do not fit, `targeted` comes without `y`, or there are arguments that are not understood.
        """
        if kwargs:
            raise ValueError(f"{type(self).__name__} takes no {', '.join(kwargs)}: whole images are attacked")
        images = np.asarray(x, dtype=np.float32)
        if images.ndim != 4 or images.shape[1:] != tuple(self.estimator.input_shape):
            raise ValueError(f"images {images.shape}: expected (n, *{tuple(self.estimator.input_shape)})")
        classes = self._classes(y, len(images))
        ladder, result = self._ladder(), images.copy()
        unit = UnitImages(self.estimator)
        self._seen += len(images)
        model = self._prepared(unit)
        block = max(4 * self.batch_size, BLOCK_BYTES // (4 * max(1, images[:1].size)))
        with frozen(model.plain):
            for begin in range(0, len(images), block):
                rows = slice(begin, begin + block)
                labels = None if classes is None else classes[rows]
                result[rows] = self._perturb(unit, model, images[rows], labels, ladder)
        return result

    def _classes(self, y: NDArray[Any] | None, count: int) -> NDArray[np.int64] | None:
        if y is None:
            if self.targeted and self.NEEDS_TARGETS:
                raise ValueError("Target labels `y` need to be provided for a targeted attack.")
            return None
        encoded = check_and_transform_label_format(np.asarray(y), nb_classes=self.estimator.nb_classes)
        if len(encoded) != count:
            raise ValueError(f"{len(encoded)} labels for {count} images")
        classes: NDArray[np.int64] = encoded.argmax(1)
        return classes

    def _prepared(self, unit: UnitImages) -> PreparedModel:
        """The model's weights may have changed since the last call; the memory format that suits it has not."""
        shape = np.moveaxis(np.empty(self.estimator.input_shape), 0 if unit.channels_first else 2, 0).shape
        prepared = prepare(
            unit,
            (shape[0], shape[1], shape[2]),
            device=self.estimator.device,
            batch_size=self.batch_size,
            memory_format=self._memory_format or (None if self._seen >= PAY_FOR_A_TRIAL else "contiguous"),
        )
        if self._seen >= PAY_FOR_A_TRIAL:
            self._memory_format = prepared.memory_format
        return prepared

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
        goal = Goal(classes, targeted=True) if aimed else goal_of(ladder[0], clean, classes, logits)
        found = clean.clone()
        for settings in ladder:
            left = ~goal.reached(logits, plain.rows())
            if bool(left.any()):
                aims = replace(goal, classes=goal.classes[left])
                found[left], logits[left] = _attack(model, clean[left], aims, settings)
        if self.FAILURES_ARE_CLEAN:
            failed = _failed(goal, logits, getattr(ladder[0], "confidence", 0.0))
            found[failed] = clean[failed]
        made = torch.where(unit.arranged(found == clean), theirs, unit.to_theirs(found))
        perturbed: NDArray[np.float32] = made.clamp(unit.low, unit.low + unit.span).cpu().numpy()
        return perturbed

    def _ladder(self) -> Sequence[NamedAttack]:
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
        self._ladder()


def _attack(model: PreparedModel, images: Tensor, goal: Goal, settings: NamedAttack) -> tuple[Tensor, Tensor]:
    """Attack the fast model; again the plain one, where it is not fooled by what fools the fast one by a hair.

    Returns the images and the plain model's logits for them.
    """
    attack = attack_for(settings).generate
    fast = Victim(model.fast, len(images), model.batch_size)
    found = attack(fast, images, goal, settings)
    plain = fast.seen_as(model.plain)
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


def _failed(goal: Goal, logits: Tensor, confidence: float) -> Tensor:
    """(n,) booleans: where the goal is not reached, or by clearly less than the confidence asked for."""
    rows = torch.arange(len(logits), device=logits.device)
    return ~goal.reached(logits, rows) | clear(goal.lead(logits, rows) + confidence, logits)


@functools.cache
def attack_class(name: str) -> type[RaypipeAttack]:
    """The class of any attack of ours.

    Parameters
    ----------
    name
        As in `raypipe.attacks.ATTACKS`.

    Returns
    -------
    type
        Its constructor takes ``(classifier, batch_size=32, targeted=False, verbose=True, **settings)``, where settings
        are the fields of the attack's own record. `set_params` takes them too.

    Raises
    ------
    ValueError
        If there is no such attack; the message lists those there are.

    Examples
    --------
    >>> attack = attack_class("deepfool")(classifier, overshoot=0.05)  # doctest: +SKIP
    >>> adversarial = attack.generate(x)  # doctest: +SKIP
    """
    if name not in ATTACKS:
        raise ValueError(f"no attack {name!r}: expected one of {', '.join(ATTACKS)}{near_matches(name, ATTACKS)}")
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
    """An attack whose settings are its own record's, under their own names."""

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
            self.record(**dict(self.settings()) | {"target": "random"})  # complains where other settings rule it out
