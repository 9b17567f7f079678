"""DeepFool under the name and arguments that it has in the Adversarial Robustness Toolbox."""

from typing import Any, ClassVar

from art.attacks import evasion

from raypipe.attacks.art.evasion.base import BATCH_SIZE, RaypipeAttack
from raypipe.attacks.deepfool import DeepFool as Settings


class DeepFool(RaypipeAttack):
    """DeepFool (Moosavi-Dezfooli et al., 2016, arXiv:1511.04599), in place of ``art.attacks.evasion.DeepFool``.

    Parameters
    ----------
    classifier
        The classifier to attack; see `RaypipeAttack`.
    max_iter
        Largest number of steps.
    epsilon
        Overshoot. It is part of every step, so that the success test includes it. The toolbox adds it at the end, and
        the result may lie on the wrong side of the boundary.
    nb_grads
        Accepted but without effect: the attack computes the gradients of all classes, so it misses no nearer class.
    batch_size, verbose
        See `RaypipeAttack`.

    Notes
    -----
    `y` are the classes to leave; the toolbox ignores them. The step does not depend on the scale of `clip_values`. The
    toolbox multiplies the step by their range, so its steps are 255 times too long in images from 0 to 255.
    """

    attack_params = evasion.DeepFool.attack_params
    THEIRS: ClassVar = {"max_iterations": "max_iter", "overshoot": "epsilon"}

    def __init__(
        self,
        classifier: Any,
        max_iter: int = 100,
        epsilon: float = 1e-6,
        nb_grads: int = 10,
        batch_size: int = BATCH_SIZE,
        verbose: bool = True,
    ) -> None:
        super().__init__(classifier, batch_size=batch_size, targeted=False, verbose=verbose)
        self.max_iter = max_iter
        self.epsilon = epsilon
        self.nb_grads = nb_grads
        self._check_params()

    def settings(self) -> Settings:
        """Return settings with the toolbox's steps, which use the boundaries of all classes."""
        return Settings(max_iterations=self.max_iter, overshoot=self.epsilon, lazy=False)
