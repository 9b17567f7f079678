"""The goal of an attack on each tile: any wrong class, or one class that the attacker chooses."""

from dataclasses import dataclass

from torch import Tensor

from raypipe.attacks.engine.tensors import clear, compute_margins


@dataclass(frozen=True)
class Goal:
    """A goal for each tile.

    Parameters
    ----------
    classes
        (n,) true classes to leave, or target classes to reach.
    targeted
        True if `classes` are target classes.
    """

    classes: Tensor
    targeted: bool = False

    def part(self, rows: Tensor) -> "Goal":
        """Return the goal of the tiles at the positions (n,)."""
        return Goal(self.classes[rows], self.targeted)

    def lead(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return the distance of each tile from its goal in logits, (n,); negative once the tile reaches it.

        Parameters
        ----------
        logits
            (n, classes).
        rows
            (n,) positions of the tiles that the logits belong to.
        """
        lead = compute_margins(logits, self.classes[rows])
        return -lead if self.targeted else lead

    def reached(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return (n,) booleans, True where the prediction meets the goal."""
        same = logits.detach().argmax(1) == self.classes[rows]
        return same if self.targeted else ~same

    def clearly_reached(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Return (n,) booleans, True where the goal is reached by more than float noise between batch sizes."""
        return clear(-self.lead(logits.detach(), rows), logits.detach())
