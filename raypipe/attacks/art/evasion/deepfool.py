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
        As in `RaypipeAttack`.
    max_iter
        Steps at most.
    epsilon
        Overshoot. It is part of every step, so that the result is checked with it; the toolbox adds it at the end, and
        may end on the wrong side of the boundary.
    nb_grads
        Accepted and without effect: all classes are looked at, so none that is nearer is missed.
    batch_size, verbose
        As in `RaypipeAttack`.

    Notes
    -----
    `y`, which the toolbox ignores, are the classes to be left. The step does not depend on the scale of `clip_values`;
    the toolbox multiplies it with their range, and oversteps by 255 in images from 0 to 255.
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
        """The same steps: all classes' boundaries in each."""
        return Settings(max_iterations=self.max_iter, overshoot=self.epsilon, lazy=False)
