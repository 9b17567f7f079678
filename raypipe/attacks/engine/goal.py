"""What an attack is to make of each tile: any class but the true one, or one class of the attacker's choosing."""

from dataclasses import dataclass

from torch import Tensor

from raypipe.attacks.engine.tensors import clear, margins


@dataclass(frozen=True)
class Goal:
    """A goal for each tile.

    Parameters
    ----------
    classes
        (n,) the true classes, to be left; or the target classes, to be reached.
    targeted
        Which of the two.
    """

    classes: Tensor
    targeted: bool = False

    def part(self, rows: Tensor) -> "Goal":
        """Return the goal of some of the tiles, at the positions (n,)."""
        return Goal(self.classes[rows], self.targeted)

    def lead(self, logits: Tensor, rows: Tensor) -> Tensor:
        """How far each tile still stands from its goal, in logits, (n,); negative: reached.

        Parameters
        ----------
        logits
            (n, classes).
        rows
            (n,) positions of the tiles they belong to.
        """
        lead = margins(logits, self.classes[rows])
        return -lead if self.targeted else lead

    def reached(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Whether the predictions are what the goal asks for, (n,) booleans."""
        same = logits.detach().argmax(1) == self.classes[rows]
        return same if self.targeted else ~same

    def clearly_reached(self, logits: Tensor, rows: Tensor) -> Tensor:
        """As `reached`, by more than what float noise between batch sizes can undo."""
        return clear(-self.lead(logits.detach(), rows), logits.detach())
