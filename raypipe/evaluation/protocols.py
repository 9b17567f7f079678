"""Names of protocols, of the reasons for an attack, and of the attacks of the sanity checks.

Plans, stored tables and reports use these names.
"""

from enum import StrEnum


class Protocol(StrEnum):
    """The origin of the tiles that a model is tested on."""

    CLEAN = "clean"
    """Tiles without an attack."""
    WHITE_BOX = "white-box"
    """A white-box attack on an undefended model."""
    ADAPTIVE = "adaptive"
    """A white-box attack on a hardened model."""
    STATIC = "static"
    """Adversarial tiles crafted against the undefended model before it was hardened."""
    TRANSFER = "transfer"
    """Adversarial tiles crafted against another undefended backbone."""


ITSELF = (Protocol.WHITE_BOX, Protocol.ADAPTIVE)
"""The protocols in which the attack is run on the model under test."""


class Role(StrEnum):
    """The reason for an attack."""

    GRID = "grid"
    """The attack also hardens models."""
    EVALUATION = "evaluation"
    """The evaluation names the attack."""
    CURVE = "curve"
    """The attack gives the robust accuracy at several radii."""
    QUERIES = "queries"
    """The attack gives the accuracy against the number of queries."""
    CHECK = "check"
    """A sanity check compares the attack with others."""


class CheckAttack(StrEnum):
    """The id of an attack of the sanity checks."""

    REFERENCE = "check/reference"
    """The attack that the checks compare the others with."""
    HALF_EPS = "check/half the eps"
    TWICE_EPS = "check/twice the eps"
    LARGE_EPS = "check/large eps"
    HALF_STEPS = "check/half the steps"
    TWICE_STEPS = "check/twice the steps"
    TWICE_RESTARTS = "check/twice the restarts"
    SINGLE_STEP = "check/single step"
    BLACK_BOX = "check/black box"
