"""Figures that the paper reports, as far as they can be read from it.

Its setting is LC25000, a random 70/30 split and static evaluation. Its charts give some figures only as ranges. A
figure that cannot be read is left out and not guessed.

References
----------
Nisa, Suciati and Yuniarti, "Adversarial training for robust defense in CNN models for lung and colon histopathological
images", IPTEK The Journal of Engineering, 2024.
"""

from typing import NamedTuple


class Earlier(NamedTuple):
    """A row of the paper's Table 3: accuracies in percent, clean, attacked and defended; None where it has none.

    `here` holds the names of backbone, attack and defense that make up the same system in an experiment of ours.
    """

    backbone: str
    attack: str
    defense: str
    data: str
    clean: float
    attacked: float
    defended: float | None
    here: tuple[str, str, str]


_DARKNET = ("darknet53", "fgsm", "adversarial_training")
_DENOISED = ("resnet50", "pgd", "sparsity_denoising")
_TRAINED_AND_DENOISED = ("resnet50_d", "pgd", "pgd_training")
_DENSENET = ("densenet121", "fgsm", "adversarial_training")
EARLIER = (
    Earlier("DarkNet-53", "FGSM", "adversarial training", "DR fundus", 99.90, 0, 92, _DARKNET),
    Earlier("ResNet50-D", "PGD", "sparsity denoising", "chest X-ray", 91.94, 45.68, 82.36, _DENOISED),
    Earlier("ResNet50-D", "PGD", "sparsity denoising", "AREDS", 84.84, 28.92, 46, _DENOISED),
    Earlier("ResNet50-A-D", "PGD", "sparsity denoising", "chest X-ray", 92.96, 87.20, 92.54, _TRAINED_AND_DENOISED),
    Earlier("ResNet50-A-D", "PGD", "sparsity denoising", "AREDS", 81.93, 48.66, None, _TRAINED_AND_DENOISED),
    Earlier("DenseNet121", "FGSM", "adversarial training", "BreakHis", 98.72, 10.99, 96.70, _DENSENET),
)
"""Earlier systems that the paper's Table 3 compares with. Each has its own data and a static evaluation."""

_NORMAL = {"googlenet": "99", "shufflenet_v2_x1_0": "99", "resnet18": "99"}
_ATTACKED = {"saliency_map": "0", "carlini_wagner_l2": "1", "deepfool": "0-30"}
_ROBUST_ON_NORMAL = {"shufflenet_v2_x1_0": "up to 99", "resnet18": "up to 99"}
_BEST_ON_PERTURBED = ("googlenet", "carlini_wagner_l2", "81")


def find_reported(column: str, backbone: str, method: str, *, hardened_on: str | None = None) -> str | None:
    """Return the paper's accuracy in percent for a cell of its Table 2; None if it has none or it cannot be read.

    Parameters
    ----------
    column
        One of `raypipe.report.paper_tables.COLUMNS`.
    backbone, method
        Names of the backbone and the attack in their registries.
    hardened_on
        Id of the attack whose tiles hardened the model. The paper has no other defense.
    """
    if backbone not in _NORMAL or method not in _ATTACKED:
        return None
    if column == "normal":
        return _NORMAL[backbone]
    if column == "attacked":
        return _ATTACKED[method]
    if hardened_on is None:
        return None
    if column == "robust_on_normal":
        return _ROBUST_ON_NORMAL.get(backbone)
    best_backbone, best_method, best = _BEST_ON_PERTURBED
    return best if (backbone, method) == (best_backbone, best_method) else f"at most {best}"
