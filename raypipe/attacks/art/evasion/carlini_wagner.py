"""Carlini and Wagner's L2 attack under the name and arguments that it has in the Adversarial Robustness Toolbox."""

from typing import Any, ClassVar

from art.attacks import evasion

from raypipe.attacks.art.evasion.base import BATCH_SIZE, RaypipeAttack
from raypipe.attacks.carlini_wagner import CarliniWagnerL2


class CarliniL2Method(RaypipeAttack):
    """Carlini and Wagner (2017, arXiv:1608.04644), in place of ``art.attacks.evasion.CarliniL2Method``.

    Parameters
    ----------
    classifier
        The classifier to attack; see `RaypipeAttack`.
    confidence
        Lead in logits that the class that should win must have.
    targeted
        True if `y` are classes to reach.
    learning_rate
        Learning rate of Adam in tanh space. In the toolbox it is the first rate of a line search.
    binary_search_steps, max_iter
        Numbers whose product is the total number of gradients. With `targeted`, `binary_search_steps` is the number of
        runs.
    initial_const
        First constant, with `targeted`.
    max_halving, max_doubling
        Largest numbers of lengths that the toolbox tries in each step. With `targeted`, each counts as half a step of
        Adam.
    batch_size, verbose
        See `RaypipeAttack`.

    Notes
    -----
    Without `targeted`, no repeated runs search for the constant. A single run starts at DeepFool's result and adapts
    each image's constant in every step. With `targeted`, a bisection searches for the constant; the toolbox confuses
    the bounds of its bisection. There is no line search, and the hinge has no effect once the class wins. A failure is
    returned as the clean image, as in the toolbox.
    """

    attack_params = evasion.CarliniL2Method.attack_params
    THEIRS: ClassVar = {"max_iterations": "max_iter"}
    FAILURES_ARE_CLEAN = True

    def __init__(
        self,
        classifier: Any,
        confidence: float = 0.0,
        targeted: bool = False,
        learning_rate: float = 0.01,
        binary_search_steps: int = 10,
        max_iter: int = 10,
        initial_const: float = 0.01,
        max_halving: int = 5,
        max_doubling: int = 5,
        batch_size: int = BATCH_SIZE,
        verbose: bool = True,
    ) -> None:
        super().__init__(classifier, batch_size=batch_size, targeted=targeted, verbose=verbose)
        self.confidence = confidence
        self.learning_rate = learning_rate
        self.binary_search_steps = binary_search_steps
        self.max_iter = max_iter
        self.initial_const = initial_const
        self.max_halving = max_halving
        self.max_doubling = max_doubling
        self._check_params()

    def settings(self) -> CarliniWagnerL2:
        """Return settings with a run for each constant if targeted, otherwise with a single run."""
        common = {"confidence": self.confidence, "learning_rate": self.learning_rate}
        if not self.targeted:
            return CarliniWagnerL2(max_iterations=self.max_iter * self.binary_search_steps, **common)
        return CarliniWagnerL2(
            method="published",
            max_iterations=self.max_iter * max(1, (self.max_halving + self.max_doubling) // 2),
            binary_search_steps=self.binary_search_steps,
            initial_const=self.initial_const,
            **common,
        )
