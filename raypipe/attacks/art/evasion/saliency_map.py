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
        The classifier to attack; see `RaypipeAttack`.
    theta
        Change of a feature each time the attack selects it, in units of the pixels. The attack can select a feature
        until it is saturated.
    gamma
        Share of the features that may change.
    batch_size, verbose
        See `RaypipeAttack`.
    targeted
        True if `y`, where given, are classes to reach, as they always are in the toolbox. The toolbox's adversarial
        training passes the true classes, which the images already reach. The attack would change nothing, and the
        training would use clean images. Therefore that training now rejects a targeted attack. With ``targeted=False``
        it works as intended.

    Notes
    -----
    The attack follows the toolbox's rule, but a step changes more than two features, and features that turn out to be
    unneeded are restored. Without `y`, any wrong class counts, and the attack tries the likeliest classes first; the
    toolbox draws one at random. A failure is returned at its last point, as in the toolbox.
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
        """Return settings with the toolbox's rule and raypipe's faster steps."""
        return SaliencyMap(rule="art", theta=max(-1.0, min(self.theta / self.span, 1.0)), gamma=self.gamma)
