"""Defenses by name. To add one: a file with its settings and its functions, and its line here."""

from raypipe.defenses.adversarial_training import AdversarialTraining

DEFENSES: dict[str, type[AdversarialTraining]] = {
    "adversarial_training": AdversarialTraining,
}
DefenseSettings = AdversarialTraining
