"""Fast gradient sign method, FGSM (Goodfellow et al., 2015, arXiv:1412.6572): one step to the edge of the ball."""

from typing import Literal

from torch import Tensor

from raypipe.attacks.base import Attack
from raypipe.attacks.engine.active import map_batches
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.losses import cross_entropy
from raypipe.attacks.engine.norms import BoundedAttack, normalize
from raypipe.attacks.engine.victim import Victim


class FastGradient(BoundedAttack):
    """Settings of `fast_gradient`: those of `raypipe.attacks.engine.norms.BoundedAttack`.

    With ``norm: l2``, the step follows the gradient instead of its sign.
    """

    name: Literal["fgsm"] = "fgsm"


def fast_gradient(victim: Victim, images: Tensor, goal: Goal, settings: FastGradient) -> Tensor:
    """Take one step of length `eps` in the direction in which the cross-entropy grows fastest.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        True classes to leave, or target classes to reach.
    settings
        Settings of the norm and the radius.

    Returns
    -------
    torch.Tensor
        Perturbed images like `images`, in [0, 1]. A tile that already reaches the goal is returned unchanged. The
        attack does not check the result of its step, so it costs one forward and one backward pass.

    References
    ----------
    Goodfellow, Shlens and Szegedy, 2015, arXiv:1412.6572, section 4.
    """
    result = images.clone()

    def step(rows: Tensor) -> None:
        points = images[rows].requires_grad_()
        logits = victim.logits(points, rows)
        going = ~goal.reached(logits, rows)
        if bool(going.any()):
            loss = cross_entropy(logits, goal, rows)
            gradients = victim.gradient(loss[going].sum(), points, rows[going])
            stepped = points.detach() + settings.eps * normalize(gradients, settings.norm)
            result[rows[going]] = stepped.clamp(0, 1)[going]

    map_batches(victim, victim.rows(), step)
    return result


ATTACK = Attack(FastGradient, fast_gradient)
