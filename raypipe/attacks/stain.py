"""Stain attack (raypipe's own): search the amounts of hematoxylin and eosin that a bad laboratory could produce.

The adversary touches no pixel directly. It multiplies the amount of each stain by a factor and adds a shift, within
ranges that tiles of one data set show (`raypipe.data.stain_spread`). Four numbers describe a whole adversarial tile, so
the perturbation has no bound in a pixel norm. The search looks at tiles rounded to 8 bits, as they are stored.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor

from raypipe.attacks.base import Attack, StoppableAttack
from raypipe.attacks.engine.active import predict_clean
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.headway import count_one_round
from raypipe.attacks.engine.losses import Strongest
from raypipe.attacks.engine.stain_search import Span, StainSearch
from raypipe.attacks.engine.victim import Victim
from raypipe.base.norms import AnyNorm
from raypipe.base.threat import Knowledge
from raypipe.data.stains import Basis

FIELDS = ("hematoxylin_factor", "eosin_factor", "hematoxylin_shift", "eosin_shift")
"""Settings with the ranges of the searched numbers, in their order."""
MEASURED: Mapping[Basis, tuple[Span, ...]] = {
    "hed": ((0.68, 1.41), (0.61, 1.81), (-0.20, 0.20), (-0.11, 0.09)),
    "macenko": ((0.67, 1.38), (0.62, 1.49), (-0.22, 0.20), (-0.14, 0.14)),
}
"""Central 90 % of the source tiles of LC25000, by the colors of the stains; docs/attacks.md has the measurement."""
KNOWLEDGE: Mapping[str, Knowledge] = {"gradient": "white-box", "random": "score-based", "draw": "none"}


class StainAttack(StoppableAttack):
    """Settings of `stain_attack`.

    Parameters
    ----------
    search
        Search for the worst stain. ``gradient`` follows the gradient through the stain's transformation. ``random``
        sees only logits. ``draw`` draws one stain from the same ranges and keeps it: what the other two achieve beyond
        it is due to the adversary and not to chance.
    basis
        Colors of the stains: the published ones (``hed``; Ruifrok and Johnston, 2001), or those that each tile itself
        shows (``macenko``; Macenko et al., 2009).
    hematoxylin_factor, eosin_factor
        Smallest and largest factor of the amount of each stain. The defaults are the central 90 % of the source tiles
        of LC25000, each beside the others of its class, in the colors of `basis`. `raypipe data stains` measures them
        on your own tiles.
    hematoxylin_shift, eosin_shift
        Smallest and largest shift of the amount of each stain, as an optical density.
    max_iterations
        Number of steps of a run of the gradient search.
    restarts
        Largest number of runs of the gradient search. Each starts at another stain, drawn from the seed and the pixels;
        the first one is the stain of ``draw``.
    max_queries
        Number of stains that the random search tries. The first one is that of ``draw``. The first half are drawn from
        the whole ranges, the others around the best one, ever nearer to it.
    """

    name: Literal["stain"] = "stain"
    minimizes: ClassVar[AnyNorm] = "none"
    search: Literal["gradient", "random", "draw"] = "gradient"
    basis: Basis = "hed"
    hematoxylin_factor: Span = MEASURED["hed"][0]
    eosin_factor: Span = MEASURED["hed"][1]
    hematoxylin_shift: Span = MEASURED["hed"][2]
    eosin_shift: Span = MEASURED["hed"][3]
    max_iterations: int = Field(20, ge=1)
    restarts: int = Field(5, ge=1)
    max_queries: int = Field(200, ge=1)

    @property
    def spans(self) -> tuple[Span, ...]:
        """Ranges of the searched numbers, in the order of `FIELDS`."""
        return self.hematoxylin_factor, self.eosin_factor, self.hematoxylin_shift, self.eosin_shift

    @property
    def limits(self) -> str:
        """Ranges of the stains' factors and shifts."""
        factors, shifts = (
            " and ".join(f"{low:g} to {high:g}" for low, high in spans) for spans in (self.spans[:2], self.spans[2:])
        )
        return f"stain ({self.basis}): hematoxylin and eosin times {factors}, plus {shifts}; no pixel norm"

    @property
    def knowledge(self) -> Knowledge:
        """Knowledge of the model that the search needs."""
        return KNOWLEDGE[self.search]

    @model_validator(mode="before")
    @classmethod
    def _take_ranges_of_basis(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or values.get("basis") not in MEASURED:
            return values
        return {**dict(zip(FIELDS, MEASURED[values["basis"]], strict=True)), **values}

    @model_validator(mode="after")
    def _require_unchanged_stain(self) -> Self:
        for field, (low, high), same in zip(FIELDS, self.spans, (1, 1, 0, 0), strict=True):
            if not low <= same <= high or (same and low < 0):
                least = "0 <= " if same else ""
                raise ValueError(
                    f"{field} = [{low:g}, {high:g}]: expected {least}lowest <= {same} <= highest, so that the "
                    "unchanged stain is in the range"
                )
        return self


def stain_attack(victim: Victim, images: Tensor, goal: Goal, settings: StainAttack) -> Tensor:
    """Return tiles with the stain, within the ranges, that raises the margin of a wrong class most.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, 3, h, w), float32 in [0, 1].
    goal
        True classes to leave, or target classes to reach.
    settings
        Settings of the ranges and of the search.

    Returns
    -------
    torch.Tensor
        Stained images like `images`, in [0, 1] and in steps of 1/255. A tile that already reaches the goal is returned
        unchanged. Where the attack fails, it returns the stain with the largest margin.

    Raises
    ------
    ValueError
        If the images have no three channels, since stains are colors.
    """
    if images.shape[1] != 3:
        raise ValueError(f"stain attack on images of {images.shape[1]} channels: expected 3, red, green and blue")
    best = Strongest(images)
    standing = ~goal.reached(predict_clean(victim, images), victim.rows())
    search = StainSearch(victim, images, goal, best, settings.spans, settings.basis, settings.seed, settings.early_stop)
    if settings.search != "gradient":
        queries = settings.max_queries if settings.search == "random" else 1
        search.try_stains(standing.nonzero()[:, 0], queries)
        return best.images
    for run in range(settings.restarts):
        rows = (standing & ~(best.fooled & settings.early_stop)).nonzero()[:, 0]
        with count_one_round(
            len(images) - len(rows), len(rows), run / settings.restarts, (run + 1) / settings.restarts
        ):
            search.follow_gradients(rows, run, settings.max_iterations)
    return best.images


ATTACK = Attack(StainAttack, stain_attack)
