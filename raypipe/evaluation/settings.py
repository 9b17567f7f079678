"""What an experiment says about its evaluation, and the attacks that its sanity checks need."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from raypipe.attacks import AttackSettings, NamedAttack
from raypipe.attacks.apgd import AutoProjectedGradient
from raypipe.attacks.autoattack import AutoAttack, EnsembleBudget
from raypipe.attacks.base import Norm
from raypipe.attacks.engine.norms import BoundedAttack, at_radius, refuse_unscaled
from raypipe.attacks.fgsm import FastGradient
from raypipe.attacks.pgd import ProjectedGradient
from raypipe.attacks.square import SquareAttack
from raypipe.base.settings import Ratio, Settings, chosen_by, entries, plain_ids
from raypipe.evaluation.checks.judging import LEAST_PLANTED

Eps = Annotated[Ratio, Field(gt=0)]
AnyBounded = Annotated[
    SerializeAsAny[BoundedAttack], chosen_by("name", {"pgd": ProjectedGradient, "apgd": AutoProjectedGradient})
]
"""A white-box attack within a ball: a field of this type takes ``{"name": "pgd", ...}``."""
REFERENCE = "check/reference"
"""The id of the attack that the others of the sanity checks are compared with; below, the ids of those."""
HALF_EPS = "check/half the eps"
TWICE_EPS = "check/twice the eps"
LARGE_EPS = "check/large eps"
HALF_STEPS = "check/half the steps"
TWICE_STEPS = "check/twice the steps"
TWICE_RESTARTS = "check/twice the restarts"
SINGLE_STEP = "check/single step"
BLACK_BOX = "check/black box"
STEPS, INITIAL_STEP = 100, 0.25
"""Steps of the reference attack, and the size of the first one in multiples of eps. On a network with a rough loss they
find all of 20 planted adversarial examples; the published first step of 2 finds 8 with 50 steps and 14 with 100
(docs/measured.md)."""
MOST_TARGETS = 9
LARGE = 0.5
"""A change of every value by so much turns any image into any other one's grey shadow: no model withstands it."""


class Checks(Settings):
    """The sanity checks of every model under test.

    Parameters
    ----------
    eps
        Radius of the ball, in the norm of the evaluation's `bounded` attack, at which attacks are compared.
    max_queries
        Of the score-based attack, a tile.
    planted_tiles
        Tiles of the test that plants adversarial examples; the most expensive check, at a few hundred passes a tile.
        At least 15: on fewer, too little can be said of an attack.
    """

    eps: Eps = 4 / 255
    max_queries: int = Field(300, ge=1)
    planted_tiles: int = Field(20, ge=LEAST_PLANTED)


class Evaluation(Settings):
    """How every model, clean or hardened, is judged.

    Parameters
    ----------
    attacks
        Against every model, besides those of the grid, which harden models too.
    tiles
        Number of test tiles that are attacked, spread over as many groups as possible and balanced by class; default:
        all.
    bounded
        The white-box attack within a ball that the sanity checks vary: ``pgd`` or ``apgd``.
    curves
        Radii of the bounded threat models, by norm. Robust accuracy at each is under AutoAttack's ensemble and whatever
        else fools the model there; the radii of the bounded attacks that the experiment names are added.
    autoattack
        Budget of the ensemble at each radius. It runs only on tiles that nothing has fooled there. None leaves it out:
        robust accuracy within a ball is then under the other attacks alone.
    transfer
        Whether every model is also tested on tiles made against the other undefended backbones.
    checks
        None leaves the sanity checks out; then no model is called robust.
    replicates
        Number of draws of the bootstrap that gives the interval of the calibration error.
    """

    attacks: Annotated[dict[str, AttackSettings], BeforeValidator(entries)] = Field(default_factory=dict)
    tiles: int | None = Field(None, ge=1)
    bounded: AnyBounded = AutoProjectedGradient(max_iterations=STEPS, initial_step=INITIAL_STEP)
    curves: dict[Norm, tuple[Eps, ...]] = Field(
        default_factory=lambda: {"linf": (1 / 255, 2 / 255, 4 / 255, 8 / 255)}, validate_default=True
    )
    autoattack: EnsembleBudget | None = EnsembleBudget()
    transfer: bool = True
    checks: Checks | None = Checks()
    replicates: int = Field(2000, ge=100)

    @field_validator("attacks")
    @classmethod
    def _ids_are_plain(cls, attacks: dict[str, NamedAttack]) -> dict[str, NamedAttack]:
        plain_ids(attacks)
        return attacks

    @field_validator("curves")
    @classmethod
    def _ascending(cls, curves: dict[Norm, tuple[float, ...]]) -> dict[Norm, tuple[float, ...]]:
        for norm, radii in curves.items():
            for eps in radii:
                refuse_unscaled(eps, norm)
        return {norm: tuple(sorted(set(radii))) for norm, radii in curves.items()}

    @field_validator("bounded")
    @classmethod
    def _aims_at_no_class(cls, bounded: BoundedAttack) -> BoundedAttack:
        if bounded.target is not None:
            raise ValueError("expected no target: curves and checks are of any wrong class")
        return bounded

    @model_validator(mode="after")
    def _checks_are_scaled(self) -> Self:
        if self.checks:
            refuse_unscaled(self.checks.eps, self.bounded.norm)
        return self

    def radii(self, grid: Mapping[str, NamedAttack]) -> dict[Norm, tuple[float, ...]]:
        """Return the radii of every bounded threat model, ascending, by norm.

        Parameters
        ----------
        grid
            The attacks that harden models too. Those of the grid and the evaluation that have a ball, and no target,
            are of a threat model of their own.
        """
        found = {norm: set(radii) for norm, radii in self.curves.items()}
        for attack in (*grid.values(), *self.attacks.values()):
            if attack.ball and getattr(attack, "target", None) is None:
                found.setdefault(attack.ball.norm, set()).add(attack.ball.eps)
        return {norm: tuple(sorted(radii)) for norm, radii in found.items() if radii}

    def ensembles(self, grid: Mapping[str, NamedAttack]) -> dict[str, tuple[AutoAttack, tuple[float, ...]]]:
        """Return AutoAttack's ensemble, within the largest ball, and its radii for every norm of `radii`, by id."""
        if self.autoattack is None:
            return {}
        budget = dict(self.autoattack)
        return {
            f"autoattack {norm}": (AutoAttack(norm=norm, eps=radii[-1], **budget), radii)
            for norm, radii in self.radii(grid).items()
        }

    def check_attacks(self, size: int) -> dict[str, NamedAttack]:
        """What the sanity checks compare, by id.

        Parameters
        ----------
        size
            Height and width of the tiles, in pixels: in l2, a large radius grows with them.
        """
        if self.checks is None:
            return {}
        norm, eps = self.bounded.norm, self.checks.eps
        reference = at_radius(self.bounded, eps, norm)
        large = LARGE if norm == "linf" else LARGE * math.sqrt(3 * size * size)

        def varied(**changes: Any) -> BoundedAttack:
            return reference.model_copy(update=changes)

        steps, restarts = reference.max_iterations, reference.restarts  # type: ignore[attr-defined]
        return {
            REFERENCE: reference,
            HALF_EPS: varied(eps=eps / 2),
            TWICE_EPS: varied(eps=2 * eps),
            LARGE_EPS: _everywhere(varied(eps=large)),
            HALF_STEPS: with_steps(reference, max(1, steps // 2), draw=1),
            TWICE_STEPS: with_steps(reference, 2 * steps, draw=2),
            TWICE_RESTARTS: varied(restarts=2 * restarts),
            SINGLE_STEP: FastGradient(norm=norm, eps=eps),
            BLACK_BOX: SquareAttack(norm=norm, eps=eps, max_queries=self.checks.max_queries),
        }


def _everywhere(attack: BoundedAttack) -> BoundedAttack:
    """Return an attack that also aims at every wrong class, where it can.

    In a large ball APGD starts at noise. A network that takes noise for the true class has no slope there that leads
    away from it, but one towards each other class.
    """
    if not isinstance(attack, AutoProjectedGradient):
        return attack
    return attack.model_copy(update={"targets": max(attack.targets, MOST_TARGETS), "loss": "cross_entropy"})


def with_steps(attack: BoundedAttack, steps: int, draw: int) -> BoundedAttack:
    """Return the same attack with another number of steps, on another way.

    A run of twice the steps begins with the steps of the shorter one where nothing else changes; then it cannot be
    weaker, whatever the model does. So with fixed steps their length changes too, and all of them together reach as far
    as before. With adaptive steps the start is another random point.

    Parameters
    ----------
    attack
        PGD or APGD.
    steps
        Their number.
    draw
        Added to the attack's seed.
    """
    changes: dict[str, Any] = {"max_iterations": steps, "seed": attack.seed + draw}
    if isinstance(attack, ProjectedGradient) and attack.step_size is not None:
        changes["step_size"] = attack.step_size * attack.max_iterations / steps
    return attack.model_copy(update=changes)
