"""The base of online adversarial training: each batch is perturbed against the model that is being trained.

The model is attacked in evaluation mode, as it will be used. Thus the batch statistics stay those of the training
inputs, and no worker waits for another worker's attack. Pang et al., 2021 (arXiv:2010.00467, section 3.4) find that
this costs no robustness and keeps more clean accuracy than an attack in training mode.

The attack is a short loop instead of `raypipe.attacks.pgd`: all tiles take all steps, and each batch has new starting
points.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator, model_validator
from torch import Tensor, nn

from raypipe.attacks.engine.victim import freeze
from raypipe.base.norms import BallSettings, Norm
from raypipe.base.settings import Ratio
from raypipe.defenses.adversarial_weights import perturb_weights
from raypipe.defenses.base import Defense, TrainingSteps
from raypipe.defenses.frozen_statistics import freeze_statistics, normalize_by
from raypipe.defenses.inner_attack import Perturbed, ascend, build_misclassification
from raypipe.defenses.search import FIXED, Range, SettingsSearch
from raypipe.defenses.tpe import explain_missing_optuna, propose
from raypipe.models.backbones.base import compute_classification_loss, main_logits
from raypipe.training.objective import InputRule, StepInputs, StepLoss, unwrap_ddp
from raypipe.training.recipe import Recipe

SCORE_STEPS, SCORE_BATCH = 10, 64
Forward = Callable[[Tensor], Any]
"""A function from images to the output of the model, or of the model with other weights."""


class OnlineTraining(BallSettings, Defense):
    """The base of every online adversarial training's settings.

    Parameters
    ----------
    norm, eps
        Ball in which training tiles are perturbed, with pixels in [0, 1]. The default radius is 4/255 in linf and 0.5
        in l2.
    epochs, learning_rate
        Settings of the fine-tuning. All other settings come from ``train``.
    seconds
        Time in seconds that the fit may take. The number of epochs is then chosen from the time of the first steps, at
        most `epochs`. The model depends on the speed of the machine.
    awp
        Size of the adversarial perturbation of the weights, as a share of each layer's length; 0 means none. Its
        authors take 0.005 to 0.01 (Wu, Xia and Wang, 2020, arXiv:2004.05884).
    early_stopping
        ``true`` keeps the epoch with the best robust accuracy on held-out training groups, under 10 steps of PGD from
        the tile itself. ``reported`` takes the evaluation's bounded attack at the radius of its sanity checks instead,
        which can cost more than an epoch. Both reduce robust overfitting (Rice, Wong and Kolter, 2020,
        arXiv:2002.11569).
    eps_ramp
        Shares of the fit, in [0, 1], at which the radius begins to rise from 0 and at which it reaches `eps`. A network
        that starts from weights of another task adapts first to the tiles and then to the attack (epsilon-scheduling,
        arXiv:2509.23325). ``[0, 0]`` means that the radius is `eps` from the first step.
    start
        Weights to start from: ``undefended`` for those of the undefended model, or ``weights`` for those that its
        training started from. The second keeps the features of an adversarially pretrained network.
    linear_probing
        Share of the fit, in [0, 1), in which only the head learns, on adversarial tiles. The body keeps its weights and
        its batch statistics meanwhile. A tenth or two suit an adversarially pretrained network with ``start: weights``
        (robust linear initialization, Hua et al., 2024, arXiv:2312.05716).
    frozen_statistics
        Weight of a second loss, of the same weights under the batch statistics that the fit starts with; 0 means none.
        It keeps more of a pretrained network, at twice the passes of a step (TWINS, Liu et al., 2023,
        arXiv:2303.11135). 1 suits an adversarially pretrained network with ``start: weights``.
    search
        Search of these settings: see `raypipe.defenses.search.SettingsSearch`. None trains once, with them as written.

    Attributes
    ----------
    shows_clean_tiles
        True if the network sees each tile both clean and perturbed.
    """

    shows_clean_tiles: ClassVar[bool] = False

    usual_eps: ClassVar[Mapping[Norm, float]] = {"linf": 4 / 255, "l2": 0.5}
    """The linf bound is that of ImageNet on RobustBench (Croce et al., 2021, arXiv:2010.09670)."""

    eps: Ratio = Field(usual_eps["linf"], gt=0)
    epochs: int = Field(5, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    awp: float = Field(0.0, ge=0)
    early_stopping: bool | Literal["reported"] = False
    # Left out of content keys at their defaults, so that models that were hardened before these settings existed keep
    # their keys.
    eps_ramp: tuple[Ratio, Ratio] = Field((0.0, 0.0), exclude_if=lambda ramp: ramp == (0, 0))
    seconds: float | None = Field(None, gt=0, exclude_if=lambda seconds: seconds is None)
    start: Literal["undefended", "weights"] = Field("undefended", exclude_if=lambda start: start == "undefended")
    linear_probing: float = Field(0.0, ge=0, lt=1, exclude_if=lambda share: share == 0)
    frozen_statistics: float = Field(0.0, ge=0, exclude_if=lambda weight: weight == 0)
    search: SettingsSearch | None = Field(None, exclude_if=lambda search: search is None)

    @field_validator("early_stopping", mode="before")
    @classmethod
    def _flag_or_reported(cls, value: Any) -> Any:
        if isinstance(value, bool) or value == "reported":
            return value
        raise ValueError("expected true, false or reported")

    @model_validator(mode="after")
    def _ramp_rises(self) -> Self:
        begin, end = self.eps_ramp
        if begin > end or end > 1:
            raise ValueError(f"eps_ramp: expected two rising shares in [0, 1], got {begin:g} and {end:g}")
        return self

    def at(self, progress: float) -> Self | None:
        """Return these settings with the radius of a moment of the fit, or None while the radius is 0.

        Parameters
        ----------
        progress
            Finished share of the fit, in [0, 1).
        """
        begin, end = self.eps_ramp
        if progress >= end:
            return self
        if progress <= begin:
            return None
        return self.model_copy(update={"eps": self.eps * (progress - begin) / (end - begin)})

    @model_validator(mode="after")
    def _space_fits(self) -> Self:
        if self.search is None:
            return self
        if self.seconds is not None:
            raise ValueError("search: candidates are compared after equal numbers of epochs; leave out seconds")
        written = self._write_settings()
        for name, value in self.search.extremes():
            if name in FIXED or name not in written:
                allowed = ", ".join(sorted(written.keys() - FIXED))
                raise ValueError(f"search.space.{name}: no such setting; expected some of {allowed}")
            try:
                type(self).model_validate({**written, name: value})
            except ValidationError as error:
                reason = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"search.space.{name} = {value!r}: {reason}") from error
        return self

    def _write_settings(self) -> dict[str, Any]:
        """Return the settings as written, without the search."""
        return {name: value for name, value in self if name != "search"}

    def list_candidates(self) -> list[Self]:
        """Return the settings of each candidate of the search, or these settings if there is none.

        With the searcher ``tpe`` only those of the first round are tried; `propose_candidates` replaces the others.
        """
        if self.search is None:
            return [self]
        return [self._with(values) for values in self.search.draw(self._write_settings())]

    def propose_candidates(self, tried: Sequence[tuple[Self, float]]) -> list[Self]:
        """Return the next round of candidates of the searcher ``tpe``, or none if there are as many as wanted.

        Parameters
        ----------
        tried
            All candidates so far, in order, each with its score; larger is better.
        """
        search = self.search
        if search is None or search.searcher != "tpe" or len(tried) >= search.samples:
            return []
        results = [(self._select_searched(candidate, search), score) for candidate, score in tried]
        count = min(search.per_round, search.samples - len(tried))
        return [self._with(values) for values in propose(search, self._write_settings(), results, count)]

    def find_incompatibility(self, backbone: str) -> str | None:
        """Return the reason why the searcher cannot be used, or the defense with a backbone, or None."""
        missing = explain_missing_optuna() if self.search and self.search.searcher == "tpe" else None
        return missing or super().find_incompatibility(backbone)

    def _with(self, values: Mapping[str, Any]) -> Self:
        """Return the settings without the search, and with other values."""
        return type(self).model_validate({**self._write_settings(), **values})

    def _select_searched(self, candidate: Self, search: SettingsSearch) -> dict[str, Any]:
        """Return the values of a candidate, in the space's own words for choices."""

        def find(name: str) -> Any:
            value, dimension = getattr(candidate, name), search.space[name]
            if isinstance(dimension, Range):
                return value
            return next(choice for choice in dimension if getattr(self._with({name: choice}), name) == value)

        return {name: find(name) for name in search.space}

    @property
    def starts_anew(self) -> bool:
        """True if training starts from the same weights as the training of the undefended model."""
        return self.start == "weights"

    @property
    def time_limit(self) -> float | None:
        """Time in seconds that a fit may take, or None if it takes `epochs` epochs."""
        return self.seconds

    @property
    def needs_held_out(self) -> bool:
        """True if the settings have early stopping or a search."""
        return bool(self.early_stopping) or self.search is not None

    @abstractmethod
    def perturb(self, victim: nn.Module, images: Tensor, labels: Tensor) -> Perturbed:
        """Return the perturbed batch to train on.

        Parameters
        ----------
        victim
            The frozen model, in evaluation mode.
        images, labels
            (n, channels, h, w) images in [0, 1], and (n,) true classes.
        """

    def compute_loss(self, forward: Forward, images: Tensor, perturbed: Tensor, labels: Tensor) -> StepLoss:  # noqa: ARG002
        """Return the loss of a batch, here the cross-entropy of the perturbed images; call `forward` once.

        Parameters
        ----------
        forward
            Function from images to the output of the model, or of the model with perturbed weights.
        images, perturbed
            (n, channels, h, w) clean and perturbed images in [0, 1].
        labels
            (n,) true classes.
        """
        output = forward(perturbed)
        return StepLoss(compute_classification_loss(output, labels), main_logits(output))

    def make_input_rule(self) -> InputRule:
        """Return the inputs of a step at the full radius; clean tiles come first if the loss uses both kinds."""

        def make(model: nn.Module, images: Tensor, labels: Tensor) -> StepInputs:
            with freeze(model) as victim:
                perturbed, passes = self.perturb(victim, images, labels)
            return StepInputs(torch.cat([images, perturbed]) if self.shows_clean_tiles else perturbed, passes)

        clean = "clean tiles and " if self.shows_clean_tiles else ""
        return InputRule(f"{clean}tiles perturbed by {self.name}", make)

    def prepare_training(self, clean: nn.Module, recipe: Recipe, start: nn.Module) -> TrainingSteps:  # noqa: ARG002  The base class has them.
        """Return steps that perturb a batch and minimize the loss on it."""
        statistics = freeze_statistics(start) if self.frozen_statistics else {}

        def minimize(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> StepLoss:
            perturbed, passes = images, 0
            if now := self.at(progress):
                with freeze(unwrap_ddp(model)) as victim:
                    perturbed, passes = now.perturb(victim, images, labels)

            def loss(forward: Forward) -> StepLoss:
                return self.compute_loss(forward, images, perturbed, labels)

            scored = loss(perturb_weights(model, loss, self.awp) if self.awp else model)
            steps = 2 if self.awp else 1
            total = scored.loss
            if statistics:
                total = total + self.frozen_statistics * loss(normalize_by(statistics, unwrap_ddp(model))).loss
                steps += 1
            return StepLoss(total, scored.logits, passes + steps * scored.forwards, passes + steps * scored.backwards)

        score = self.score if self.early_stopping else None
        return TrainingSteps(minimize, self.make_input_rule(), score=score, probing=self.linear_probing)

    def score(self, model: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
        """Return the robust accuracy of held-out tiles (n, h, w, 3) within the ball, under 10 steps of PGD."""
        device = next(model.parameters()).device
        right = 0
        with freeze(model) as victim:
            for begin in range(0, len(images), SCORE_BATCH):
                batch = np.ascontiguousarray(images[begin : begin + SCORE_BATCH].transpose(0, 3, 1, 2))
                clean = torch.from_numpy(batch).to(device).float() / 255
                truth = torch.from_numpy(labels[begin : begin + SCORE_BATCH]).to(device)
                points = ascend(victim, clean, clean, build_misclassification(truth), self.ball, SCORE_STEPS, 0.25)
                with torch.no_grad():
                    right += int((victim(points).argmax(1) == truth).sum())
        return right / len(images)
