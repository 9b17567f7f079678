"""Names for readers: of classes, backbones, attacks and defenses, instead of the names of folders and registries."""

import re

CLASSES = {
    "colon_aca": "Colon adenocarcinoma",
    "colon_n": "Benign colon tissue",
    "lung_aca": "Lung adenocarcinoma",
    "lung_n": "Benign lung tissue",
    "lung_scc": "Lung squamous cell carcinoma",
    "High-grade_IN": "High-grade intraepithelial neoplasia",
    "Low-grade_IN": "Low-grade intraepithelial neoplasia",
    "no_dr": "No diabetic retinopathy",
    "mild": "Mild retinopathy",
    "moderate": "Moderate retinopathy",
    "severe": "Severe retinopathy",
    "proliferative": "Proliferative retinopathy",
}
"""Names of classes whose folders have codes. Other classes keep their own names, which their user knows."""
BACKBONES = {
    "googlenet": "GoogLeNet",
    "darknet53": "DarkNet-53",
    "densenet121": "DenseNet-121",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "resnet18": "ResNet-18",
    "resnet18_d": "ResNet-18-D",
    "resnet50": "ResNet-50",
    "resnet50_d": "ResNet-50-D",
    "resnet50d": "ResNet-50-D (timm)",
    "convnet": "small convolutional network",
    "convnet_medium": "medium convolutional network",
}
ATTACKS = {
    "deepfool": "DeepFool",
    "carlini_wagner_l2": "Carlini-Wagner L2",
    "minimal_l2": "minimal L2",
    "saliency_map": "saliency map",
    "sparse_l0": "sparse L0",
    "sigma_zero": "sigma-zero",
    "fgsm": "FGSM",
    "pgd": "PGD",
    "apgd": "APGD",
    "fab": "FAB",
    "ddn": "DDN",
    "square": "Square",
    "stain": "stain attack",
    "autoattack": "AutoAttack",
    "rays": "RayS",
    "cgba": "CGBA",
    "adversarial_patch": "adversarial patch",
}
DEFENSES = {"pgd_training": "PGD training", "trades": "TRADES", "mart": "MART", "awp": "AWP"}
_SHUFFLENET = re.compile(r"shufflenet_v2_x(\d)_(\d)")


def name_class(label: str) -> str:
    """Return the name of a class: ``Lung adenocarcinoma`` for ``lung_aca``."""
    return CLASSES.get(label) or label.replace("_", " ")


def name_class_in_full(label: str) -> str:
    """Return the name of a class with its code in the data set: ``Lung adenocarcinoma (lung_aca)``."""
    return f"{CLASSES[label]} ({label})" if label in CLASSES else name_class(label)


def name_backbone(backbone: str) -> str:
    """Return the name of a backbone: ``ResNet-18`` for ``resnet18``."""
    if found := _SHUFFLENET.fullmatch(backbone):
        return f"ShuffleNetV2 x{found[1]}.{found[2]}"
    return BACKBONES.get(backbone, backbone)


def name_attack(attack: str) -> str:
    """Return the name of an attack by its id: ``DeepFool`` for ``deepfool``, ``AutoAttack linf`` for its ensemble.

    An attack that is run for the number of queries has the id ``queries/square``. An id of the user stays as it is.
    """
    if attack.startswith("queries/"):
        return f"{name_attack(attack.removeprefix('queries/'))} by queries"
    name, _, norm = attack.partition(" ")
    return f"{ATTACKS[name]} {norm}" if name == "autoattack" and norm else ATTACKS.get(attack, attack)


def name_defense(defense: str) -> str:
    """Return the name of a defense by its id: ``adversarial training`` for ``adversarial_training``."""
    return DEFENSES.get(defense) or defense.replace("_", " ")
