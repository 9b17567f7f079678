"""The terms of raypipe, each in two sentences, with the name that the reproduced paper gives it.

`docs/generate.py` writes `docs/glossary.md` from this table, and each report has it as an appendix.
"""

import textwrap
from typing import NamedTuple


class Term(NamedTuple):
    """A term of the field as raypipe uses it.

    Parameters
    ----------
    name
        The term, as figures, columns and documents write it.
    meaning
        Two sentences: the definition, and its consequence for a reader.
    paper
        The name in Nisa, Suciati and Yuniarti (IPTEK 2024); None if the paper has no name for it.
    """

    name: str
    meaning: str
    paper: str | None = None

    @property
    def anchor(self) -> str:
        """Return the fragment that links lead to, as GitHub makes it from a heading."""
        kept = "".join(letter for letter in self.name.lower() if letter.isalnum() or letter in " -")
        return kept.replace(" ", "-")


GLOSSARY: dict[str, tuple[Term, ...]] = {
    "Data": (
        Term(
            "tile",
            "A tile is one image that a model classifies, usually a square cut from a scanned tissue slide. Its pixel "
            "values lie in [0, 1] in memory and are stored with 8 bits each.",
            "histopathological image",
        ),
        Term(
            "group",
            "A group holds all tiles from one source image, slide or patient. Its tiles resemble each other, so a "
            "group split keeps them on one side, and intervals do not count them as independent evidence.",
        ),
        Term(
            "leakage",
            "Leakage means that tiles of one group lie in both the training set and the test set. The model has then "
            "almost seen its test tiles, its accuracy is overestimated, and the report is stamped LEAKY.",
        ),
        Term(
            "synthetic tissue",
            "Synthetic tissue is drawn by a program for the demo and the tests. Figures on it say that raypipe works "
            "and nothing about medicine, and the report is stamped SYNTHETIC.",
        ),
    ),
    "Models": (
        Term(
            "backbone",
            "A backbone is the architecture of a network, such as ResNet18, before it is trained on the tiles. One "
            "backbone can give several models: an undefended one and hardened ones.",
            "CNN model",
        ),
        Term(
            "undefended model",
            "An undefended model is trained on clean tiles and has no defense. It is the baseline of each defense, and "
            "the model that static adversarial examples are crafted against.",
        ),
        Term(
            "hardened model",
            "A hardened model is trained or changed by a defense so that attacks fool it less. It counts as robust "
            "only after attacks on the hardened model itself.",
            "robust model",
        ),
        Term(
            "input transform",
            "An input transform changes the tile before the network reads it, for example by rounding its pixels. It "
            "is part of the model, so white-box attacks go through it.",
        ),
    ),
    "Attacks": (
        Term(
            "adversarial example",
            "An adversarial example is a tile that an attack has changed slightly, so that the model predicts a wrong "
            "class. A pathologist would still see the same tissue.",
            "perturbed data",
        ),
        Term(
            "attack",
            "An attack is a method that searches for an adversarial example near a tile. It succeeds if the model "
            "misclassifies the stored 8-bit tile.",
            "Carlini-Wagner, DeepFool and SaliencyMap, which is also known as JSMA",
        ),
        Term(
            "threat model",
            "The threat model states what the attacker knows, may change and wants: knowledge, norm, eps and goal. "
            "Figures under different threat models cannot be compared.",
        ),
        Term(
            "perturbation",
            "The perturbation is the difference between the adversarial tile and the clean tile. Its size is measured "
            "by a norm.",
        ),
        Term(
            "norm",
            "A norm measures the size of a perturbation: L0 counts changed channel values, L2 is the Euclidean length "
            "with pixels in [0, 1], and L-infinity is the largest change of a value, given in 1/255. A small norm "
            "means a change that is hard to see.",
        ),
        Term(
            "eps",
            "Eps is the largest perturbation that a bounded attack may make, measured by its norm. At 4/255 in "
            "L-infinity each channel value changes by at most four of its 255 steps.",
        ),
        Term(
            "stored eps",
            "The stored eps is the largest perturbation within eps that 8-bit pixels can express. It is below eps "
            "where eps is no multiple of 1/255, and the report then shows both.",
        ),
        Term(
            "minimum perturbation",
            "The minimum perturbation of a tile is the smallest one that an attack found to fool the model. The report "
            "gives its median over tiles: the larger it is, the harder the model is to fool.",
        ),
        Term(
            "white-box attack",
            "A white-box attack is run on the model itself and knows it completely, including its weights, gradients "
            "and defense. Columns and bars named white-box, and sentences on a model that is attacked directly, give "
            "the accuracy under such an attack.",
            "white-box attack",
        ),
        Term(
            "black-box attack",
            "A black-box attack only sees the model's answers and no gradients. If it fools a model more often than "
            "the white-box attacks do, the gradients of that model mislead.",
        ),
        Term(
            "query",
            "A query shows a model one image and returns its answer: the logits in a score-based attack, and only the "
            "predicted class in a decision-based one. An attack that needs many queries costs time and can be noticed.",
        ),
        Term(
            "adversarial patch",
            "An adversarial patch sets the pixels of one rectangle of a tile to anything and changes no other pixel. "
            "Its threat model is the area and the position instead of a norm.",
        ),
        Term(
            "adaptive attack",
            "An adaptive attack is a white-box attack on the hardened model that is built around its defense, for "
            "example with gradients through an input transform (BPDA) or averaged over its randomness (EOT). Only such "
            "attacks show what a defense is worth.",
        ),
        Term(
            "transfer attack",
            "A transfer attack crafts adversarial examples on a source model and shows them to another one, the target "
            "model. It needs no access to the target model, so it is the most practical threat.",
        ),
        Term(
            "AutoAttack's ensemble",
            "AutoAttack's ensemble runs two versions of APGD, FAB and Square one after the other on the tiles that are "
            "still classified correctly (Croce and Hein 2020). It is the field's standard for robust accuracy within a "
            "norm ball.",
        ),
        Term(
            "forward and backward passes per tile",
            "These passes count how often an attack evaluates the network and its gradient for one tile. They measure "
            "the attack's cost independently of the machine.",
        ),
    ),
    "Protocols": (
        Term(
            "static evaluation",
            "A static evaluation shows the hardened model adversarial examples that were crafted against the "
            "undefended model. This is the paper's protocol, and it overestimates robustness because no attack sees "
            "the hardened model.",
            "robust model on perturbed data",
        ),
        Term(
            "worst case over attacks",
            "In the worst case over attacks a tile counts as correct only if no attack fooled the model on it. It is "
            "an upper bound of the true robust accuracy, because a stronger attack may exist.",
        ),
        Term(
            "sanity check",
            "A sanity check tests a law that working attacks obey, for example that a larger eps never fools fewer "
            "tiles. If one fails, robust accuracy may be overestimated, and the model is not called robust.",
        ),
        Term(
            "planted adversarial example",
            "A planted adversarial example is one that exists by construction, because the last layer was replaced for "
            "the test (Zimmermann et al. 2022). An attack that misses it would also miss others.",
        ),
        Term(
            "known-weak control",
            "A known-weak control is a defense that is known to fail, such as rounding with a zero gradient. It is run "
            "to see that the sanity checks detect it.",
        ),
        Term(
            "reproducible predictions",
            "Predictions are reproducible if inference is deterministic and a tile's prediction does not depend on the "
            "other tiles of its batch. Without that, an attack's success may be noise.",
        ),
    ),
    "Figures": (
        Term(
            "clean accuracy",
            "Clean accuracy is the share of tiles that a model classifies correctly without an attack. The report "
            "gives it for the whole test set, and for the attacked tiles beside each figure under attack.",
            "normal accuracy; for a hardened model, robust model on normal data",
        ),
        Term(
            "robust accuracy",
            "Robust accuracy is the share of tiles that a model still classifies correctly under an attack within its "
            "threat model. Tiles that were wrong without an attack count as wrong.",
            "attacked accuracy",
        ),
        Term(
            "natural corruption",
            "A natural corruption is a change of a tile that a laboratory, a scanner or a file format makes, such as "
            "another stain, JPEG or a fold. It has five severities, and unlike an attack it does not depend on the "
            "model.",
        ),
        Term(
            "relative error",
            "A relative error is a model's number of errors as a share of those of a named baseline on the same tiles. "
            "Below 1 the model does better than the baseline.",
        ),
        Term(
            "universal perturbation",
            "A universal perturbation is one pattern that is added to every tile. It is made for one model, from "
            "training tiles, and tested on test tiles with this and other models, beside a random pattern of its size.",
        ),
        Term(
            "external test set",
            "An external test set has tiles from another source than the training tiles, such as another hospital. Its "
            "classes are mapped to those of the run.",
        ),
        Term(
            "balanced accuracy",
            "Balanced accuracy is the mean of the recalls of the classes. It does not depend on how common each class "
            "is, so it compares sets with different shares of the classes.",
        ),
        Term(
            "certified accuracy",
            "Certified accuracy is the share of tiles that are classified correctly with a proof that no perturbation "
            "within a radius changes the prediction. It is a lower bound of the true robust accuracy.",
        ),
        Term(
            "95 % interval",
            "A 95 % interval is the range of values that the data support for a figure. It is wider with fewer groups, "
            "and where two intervals overlap, raypipe calls neither model best.",
        ),
        Term(
            "clinical errors",
            "Clinical errors are missed cancers (false negatives) and false alarms (false positives). They are counted "
            "separately, because their consequences for a patient differ.",
        ),
        Term(
            "precision, recall and F1",
            "Precision is the share of correct tiles among those predicted as a class, and recall is the share of a "
            "class's tiles that are found. F1 is their harmonic mean.",
            "precision, recall, F1",
        ),
        Term(
            "calibration",
            "A model is calibrated if tiles that it classifies with a confidence of 90 % are correct nine times in "
            "ten. An attack can make a model wrong and confident at the same time.",
        ),
    ),
    "Defenses": (
        Term(
            "defense",
            "A defense is a way of training or changing a model so that attacks fool it less. Each one is attacked "
            "adaptively, as part of the model that it gives.",
            "robust defense",
        ),
        Term(
            "static adversarial training",
            "Static adversarial training fine-tunes a model on adversarial examples that were crafted once against the "
            "undefended model, with the correct labels. It is the paper's defense, and the model meets no attack on "
            "itself while it learns.",
            "adversarial training",
        ),
        Term(
            "online adversarial training",
            "Online adversarial training attacks the model that is being trained in each step and learns from the "
            "results. PGD training, TRADES and MART are of this kind.",
        ),
        Term(
            "certificate",
            "A certificate is a proof for one tile that no perturbation within a radius changes the prediction. "
            "Interval bounds give one, and randomized smoothing gives one with a small probability of error.",
        ),
    ),
    "Runs": (
        Term(
            "experiment",
            "An experiment is one YAML file that names data, backbones, attacks and defenses. A run carries it out and "
            "writes its results and its report.",
        ),
        Term(
            "cell",
            "A cell is one unit of work of an experiment, such as training one backbone or attacking one model with "
            "one attack. Its content key is a hash of all that determines its result.",
        ),
        Term(
            "cached result",
            "A cached result is a stored cell whose content key has not changed. It is reused, and only missing cells "
            "run, so a stopped run resumes where it was.",
        ),
    ),
}
"""The terms by heading, in the order in which a reader needs them."""

TERMS: dict[str, Term] = {term.name: term for terms in GLOSSARY.values() for term in terms}

SECTION_TERMS: dict[str, tuple[str, ...]] = {
    "summary": ("clean accuracy", "adversarial example", "static evaluation", "95 % interval", "group"),
    "pictures": ("adversarial example", "perturbation"),
    "clinical": ("clinical errors", "precision, recall and F1"),
    "accuracy": ("clean accuracy", "robust accuracy", "static evaluation", "worst case over attacks", "95 % interval"),
    "attacks": ("white-box attack", "black-box attack", "adaptive attack", "adversarial patch"),
    "shifts": ("natural corruption", "relative error", "clean accuracy", "95 % interval"),
    "external": ("external test set", "balanced accuracy", "95 % interval", "group"),
    "universal": ("universal perturbation", "eps", "norm", "transfer attack"),
    "paper": ("static evaluation", "static adversarial training", "precision, recall and F1"),
    "trust": ("sanity check", "worst case over attacks"),
    "checks": ("planted adversarial example", "reproducible predictions", "known-weak control"),
    "overview": ("natural corruption", "query", "worst case over attacks", "95 % interval"),
    "evidence": ("threat model", "precision, recall and F1", "95 % interval"),
    "queries": ("query", "black-box attack", "eps"),
    "curves": ("eps", "norm", "minimum perturbation", "AutoAttack's ensemble"),
    "frontier": ("clean accuracy", "worst case over attacks", "forward and backward passes per tile"),
    "transfer": ("transfer attack",),
    "calibration": ("calibration",),
    "differences": ("95 % interval", "group"),
    "training": ("backbone", "hardened model"),
    "cost": ("forward and backward passes per tile",),
    "threats": ("threat model", "eps", "stored eps", "norm"),
    "reproduce": ("experiment", "cell", "cached result"),
}
"""The terms that a section of the report uses, by the section's anchor; the report links them below its heading."""


def find_section_terms(section: str) -> tuple[Term, ...]:
    """Return the terms that a section of the report explains below its heading.

    Parameters
    ----------
    section
        Anchor of the section.
    """
    return tuple(TERMS[name] for name in SECTION_TERMS.get(section, ()))


def render_glossary() -> str:
    """Return the glossary as a Markdown document."""
    lines = [
        "# Glossary",
        "",
        "The terms that files, tables, reports and code of raypipe use. *Paper* is the name in Nisa, Suciati and",
        "Yuniarti (IPTEK 2024), where it has one. This file is generated by `make docs` from",
        "[`raypipe/report/glossary.py`](../raypipe/report/glossary.py).",
    ]
    for heading, terms in GLOSSARY.items():
        lines += ["", f"## {heading}"]
        for term in terms:
            lines += ["", f"### {term.name}", "", textwrap.fill(term.meaning, 120)]
            lines += ["", f"*Paper: {term.paper}.*"] if term.paper else []
    return "\n".join(lines) + "\n"
