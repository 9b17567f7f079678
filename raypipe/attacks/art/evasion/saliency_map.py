"""The saliency map attack under the name and arguments that it has in the Adversarial Robustness Toolbox."""

from typing import Any, ClassVar

from art.attacks import evasion

from raypipe.attacks.art.evasion.base import BATCH_SIZE, RaypipeAttack
from raypipe.attacks.saliency_map import SaliencyMap


class SaliencyMapMethod(RaypipeAttack):
    """JSMA (Papernot et al., 2016, arXiv:1511.07528), in place of ``art.attacks.evasion.SaliencyMapMethod``.

    Parameters
    ----------
    classifier
        As in `RaypipeAttack`.
    theta
        Added to a feature each time it is taken, in units of the pixels. A feature may be taken until it is saturated.
    gamma
        Share of the features that may change.
    batch_size, verbose
        As in `RaypipeAttack`.
    targeted
        Whether `y`, if given, are classes to be reached, as the toolbox always takes them. Its adversarial training
        hands over the true ones, which are reached already: nothing is changed, and it trains on clean images. Hence
        that training now says that it does not take a targeted attack; with ``targeted=False`` it does what it should.

    Notes
    -----
    The toolbox's rule, but more than two features in a step, and those that turn out not to be needed are restored.
    Without `y`, any wrong class counts, the likeliest are tried first; the toolbox draws one at random. A failure comes
    back where it got to, in the toolbox too.
    """

    attack_params: ClassVar = [*evasion.SaliencyMapMethod.attack_params, "targeted"]
    NEEDS_TARGETS = False

    def __init__(
        self,
        classifier: Any,
        theta: float = 0.1,
        gamma: float = 1.0,
        batch_size: int = BATCH_SIZE,
        verbose: bool = True,
        targeted: bool = True,
    ) -> None:
        super().__init__(classifier, batch_size=batch_size, targeted=targeted, verbose=verbose)
        self.theta = theta
        self.gamma = gamma
        self._check_params()

    def settings(self) -> SaliencyMap:
        """The toolbox's rule, with our speed."""
        return SaliencyMap(rule="art", theta=max(-1.0, min(self.theta / self.span, 1.0)), gamma=self.gamma)
