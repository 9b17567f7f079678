"""The threat model of an attack, from its settings."""

from raypipe.attacks.base import NamedAttack, TargetedAttack
from raypipe.base.threat import ThreatModel


def get_threat_model(settings: NamedAttack) -> ThreatModel:
    """Return the threat model of an attack on the model itself, as `raypipe.attacks.engine.generate` runs it.

    Parameters
    ----------
    settings
        Settings of the attack. Adversarial tiles crafted on one model and shown to another have a different threat
        model, with the knowledge ``transfer``.

    Raises
    ------
    NotImplementedError
        If the settings name neither a ball nor a norm.
    """
    norm, eps = settings.ball or (settings.minimizes, None)
    targeted = isinstance(settings, TargetedAttack) and settings.target is not None
    return ThreatModel(
        norm, eps, settings.knowledge, goal="targeted" if targeted else "untargeted", limits=settings.limits
    )
