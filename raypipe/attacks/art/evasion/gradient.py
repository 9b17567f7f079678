"""FGSM, PGD and APGD under the names and arguments that they have in the Adversarial Robustness Toolbox.

All three maximize the cross-entropy of the logits, whatever loss the classifier was created with.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from art.attacks import evasion

from raypipe.attacks.apgd import AutoProjectedGradient
from raypipe.attacks.art.evasion.base import BATCH_SIZE, RaypipeAttack
from raypipe.attacks.base import NamedAttack
from raypipe.attacks.fgsm import FastGradient
from raypipe.attacks.pgd import ProjectedGradient
from raypipe.base.norms import Norm


class _WithinBound(RaypipeAttack):
    """The base of the three attacks, which all keep to a ball."""

    norm: float | str
    eps: float

    def _get_ball(self) -> tuple[Norm, float]:
        """Return the ball's norm, and its radius with pixels in [0, 1]."""
        if self.norm not in (np.inf, "inf", 2):
            raise ValueError(f"norm = {self.norm}: expected 2, numpy.inf or 'inf'")
        _require_number("eps", self.eps)
        return ("l2" if self.norm == 2 else "linf"), self.eps / self.span


class FastGradientMethod(_WithinBound):
    """FGSM (Goodfellow et al., 2015, arXiv:1412.6572), in place of ``art.attacks.evasion.FastGradientMethod``.

    Parameters
    ----------
    estimator
        The classifier to attack; see `classifier` of `RaypipeAttack`.
    norm
        Norm of the ball: ``numpy.inf``, ``"inf"`` or 2.
    eps
        Length of the step, in units of the pixels; with `minimal`, length of the longest step.
    eps_step
        Growth of the steps with `minimal`, in units of the pixels.
    targeted
        True if `y` are classes to reach.
    num_random_init
        Number of starts at random points of the ball; 0 means one start at the image itself.
    batch_size
        See `RaypipeAttack`.
    minimal
        True if the attack takes the shortest step that succeeds, among the multiples of `eps_step`.
    summary_writer
        Not supported; must be False.

    Notes
    -----
    There are two differences from the toolbox. Rounding does not make `minimal` lose its last step. An image that has
    already left its class `y` is not perturbed.
    """

    attack_params = evasion.FastGradientMethod.attack_params
    THEIRS: ClassVar = {"restarts": "num_random_init"}

    def __init__(
        self,
        estimator: Any,
        norm: float | str = np.inf,
        eps: float = 0.3,
        eps_step: float = 0.1,
        targeted: bool = False,
        num_random_init: int = 0,
        batch_size: int = BATCH_SIZE,
        minimal: bool = False,
        summary_writer: Literal[False] = False,
    ) -> None:
        super().__init__(estimator, batch_size=batch_size, targeted=targeted, verbose=True)
        self.norm = norm
        self.eps = eps
        self.eps_step = eps_step
        self.num_random_init = num_random_init
        self.minimal = minimal
        _refuse_others(summary_writer=summary_writer)
        self._check_params()

    def ladder(self) -> Sequence[NamedAttack]:
        """Return the settings of one step, or of steps of growing length."""
        norm, eps = self._get_ball()
        if self.minimal:
            _require_number("eps_step", self.eps_step)
            share = self.eps_step / self.span
            return [FastGradient(norm=norm, eps=share * (k + 1)) for k in range(math.floor(eps / share + 1e-6))]
        if self.num_random_init:
            return [
                ProjectedGradient(
                    norm=norm,
                    eps=eps,
                    step_size=1.0,
                    max_iterations=1,
                    random_start=True,
                    restarts=self.num_random_init,
                )
            ]
        return [FastGradient(norm=norm, eps=eps)]


class ProjectedGradientDescent(_WithinBound):
    """PGD (Madry et al., 2018, arXiv:1706.06083), in place of ``art.attacks.evasion.ProjectedGradientDescent``.

    Parameters
    ----------
    estimator
        The classifier to attack; see `classifier` of `RaypipeAttack`.
    norm
        Norm of the ball: ``numpy.inf``, ``"inf"`` or 2.
    eps, eps_step
        Radius of the ball, and length of a step, in units of the pixels.
    decay, random_eps, summary_writer
        Not supported; must have their defaults.
    max_iter
        Number of steps of a run.
    targeted
        True if `y` are classes to reach.
    num_random_init
        Number of runs from random points of the ball; 0 means one run from the image itself.
    batch_size, verbose
        See `RaypipeAttack`.
    early_stop
        True if the attack stops on an image once it fools the model. This gives as many successes in a fraction of the
        time. The toolbox's attack continues to raise the loss, as adversarial training needs it.

    Notes
    -----
    The attack returns the strongest of all steps, not the last. Unlike in the toolbox, an image that has already left
    its class `y` is not perturbed.
    """

    attack_params: ClassVar = [*evasion.ProjectedGradientDescent.attack_params, "early_stop"]
    THEIRS: ClassVar = {"max_iterations": "max_iter", "step_size": "eps_step", "restarts": "num_random_init"}

    def __init__(
        self,
        estimator: Any,
        norm: float | str = np.inf,
        eps: float = 0.3,
        eps_step: float = 0.1,
        decay: None = None,
        max_iter: int = 100,
        targeted: bool = False,
        num_random_init: int = 0,
        batch_size: int = BATCH_SIZE,
        random_eps: Literal[False] = False,
        summary_writer: Literal[False] = False,
        verbose: bool = True,
        early_stop: bool = False,
    ) -> None:
        super().__init__(estimator, batch_size=batch_size, targeted=targeted, verbose=verbose)
        self.norm = norm
        self.eps = eps
        self.eps_step = eps_step
        self.decay = decay
        self.max_iter = max_iter
        self.num_random_init = num_random_init
        self.random_eps = random_eps
        self.early_stop = early_stop
        _refuse_others(summary_writer=summary_writer)
        self._check_params()

    def settings(self) -> ProjectedGradient:
        """Return settings with the toolbox's steps, their length given as a share of the radius."""
        _refuse_others(decay=self.decay, random_eps=self.random_eps)
        norm, eps = self._get_ball()
        _require_number("eps_step", self.eps_step)
        return ProjectedGradient(
            norm=norm,
            eps=eps,
            step_size=self.eps_step / self.eps,
            max_iterations=self.max_iter,
            random_start=self.num_random_init > 0,
            restarts=self.num_random_init or 1,
            early_stop=self.early_stop,
        )


class AutoProjectedGradientDescent(_WithinBound):
    """APGD (Croce and Hein, 2020, arXiv:2003.01690), in place of ``art.attacks.evasion.AutoProjectedGradientDescent``.

    Parameters
    ----------
    estimator
        The classifier to attack; see `classifier` of `RaypipeAttack`.
    norm
        Norm of the ball: ``numpy.inf``, ``"inf"`` or 2.
    eps
        Radius of the ball, in units of the pixels.
    eps_step
        Accepted but without effect, because the first step is twice the radius, as published.
    max_iter
        Number of steps of a run.
    targeted
        True if `y` are classes to reach.
    nb_random_init
        Largest number of runs from random points of the ball. An image needs no further run once it is fooled.
    batch_size, verbose
        See `RaypipeAttack`.
    loss_type
        ``"cross_entropy"`` or None for the cross-entropy, ``"difference_logits_ratio"`` for the ratio that the paper
        proposes. The ratio needs 3 classes, or 4 with `targeted`.

    Notes
    -----
    The attack stops on an image once it fools the model. A failure is returned at the largest loss found. The toolbox
    returns it at the random start of the last run.
    """

    attack_params = evasion.AutoProjectedGradientDescent.attack_params
    THEIRS: ClassVar = {"max_iterations": "max_iter", "restarts": "nb_random_init"}
    LOSSES: ClassVar[dict[str | None, Literal["cross_entropy", "dlr"]]] = {
        None: "cross_entropy",
        "cross_entropy": "cross_entropy",
        "difference_logits_ratio": "dlr",
    }

    def __init__(
        self,
        estimator: Any,
        norm: float | str = np.inf,
        eps: float = 0.3,
        eps_step: float = 0.1,
        max_iter: int = 100,
        targeted: bool = False,
        nb_random_init: int = 5,
        batch_size: int = BATCH_SIZE,
        loss_type: str | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(estimator, batch_size=batch_size, targeted=targeted, verbose=verbose)
        self.norm = norm
        self.eps = eps
        self.eps_step = eps_step
        self.max_iter = max_iter
        self.nb_random_init = nb_random_init
        self.loss_type = loss_type
        self._check_params()

    def settings(self) -> AutoProjectedGradient:
        """Return settings with the toolbox's budget; the attack finds the step sizes itself."""
        if self.loss_type not in self.LOSSES:
            raise ValueError(f"loss_type = {self.loss_type}: expected one of {', '.join(map(str, self.LOSSES))}")
        norm, eps = self._get_ball()
        return AutoProjectedGradient(
            norm=norm,
            eps=eps,
            max_iterations=self.max_iter,
            restarts=self.nb_random_init,
            loss=self.LOSSES[self.loss_type],
            early_stop=True,
        )


def _require_number(name: str, value: Any) -> None:
    if not isinstance(value, int | float) or value <= 0:
        raise ValueError(f"{name} = {value}: expected a positive number, the same for all images and pixels")


def _refuse_others(**arguments: Any) -> None:
    """Check that toolbox arguments without a counterpart have their defaults, None or False."""
    for name, value in arguments.items():
        if value:
            raise ValueError(f"{name} = {value}: not offered; art.attacks.evasion has it")
