"""Settings of the accuracy against the number of queries."""

from collections.abc import Mapping
from typing import Any, Self, get_args

from pydantic import Field, field_validator, model_validator

from raypipe.attacks import ATTACKS
from raypipe.attacks.base import NamedAttack
from raypipe.base.norms import Norm, require_scaled
from raypipe.base.settings import Ratio, Settings, suggest_matches
from raypipe.base.threat import BLACK_BOX

USUAL: dict[Any, tuple[str, ...]] = {"linf": ("square", "rays"), "l2": ("square", "cgba")}
"""A score-based and a decision-based attack in each norm."""


class Queries(Settings):
    """Settings of the accuracy against the number of queries, under attacks that only query the model.

    Parameters
    ----------
    norm, eps
        Norm and radius of the ball.
    most
        Largest number of queries for a tile. One run of each attack gives the accuracy after every smaller number.
    attacks
        Names of score-based and decision-based attacks. Default: ``square``, and ``rays`` in linf or ``cgba`` in l2.
    """

    norm: Norm = "linf"
    eps: Ratio = Field(4 / 255, gt=0)
    most: int = Field(10_000, ge=1)
    attacks: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_attacks(cls, values: Any) -> Any:
        return {"attacks": USUAL[values.get("norm", "linf")], **values} if isinstance(values, Mapping) else values

    @field_validator("attacks")
    @classmethod
    def _are_black_box(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = [name for name, attack in ATTACKS.items() if attack.settings.knowledge in BLACK_BOX]  # type: ignore[comparison-overlap]
        for name in names:
            if name not in known:
                allowed = f"{', '.join(known)}{suggest_matches(name, known)}"
                raise ValueError(f"{name!r}: expected attacks that only query the model, {allowed}")
        return tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _attacks_fit(self) -> Self:
        require_scaled(self.eps, self.norm)
        for name in self.attacks:
            field = ATTACKS[name].settings.model_fields["norm"]
            if self.norm not in get_args(field.annotation):
                raise ValueError(f"attacks = {name!r}: expected an attack in the norm {self.norm}")
        return self

    def runs(self) -> dict[str, NamedAttack]:
        """Return the attacks by id, each with the ball and the number of queries."""
        budget = {"norm": self.norm, "eps": self.eps, "max_queries": self.most}
        return {f"queries/{name}": ATTACKS[name].settings.model_validate(budget) for name in self.attacks}
