"""The attacks of the Adversarial Robustness Toolbox that fit an experiment, and the reasons why others do not.

The toolbox is imported only when an attack is named. Its import takes seconds and creates a directory in the home
directory.
"""

import importlib.util
import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from raypipe.base.settings import suggest_matches

CLASSES = {
    "deepfool": "DeepFool",
    "carlini_wagner_l2": "CarliniL2Method",
    "saliency_map": "SaliencyMapMethod",
    "fgsm": "FastGradientMethod",
    "pgd": "ProjectedGradientDescent",
    "apgd": "AutoProjectedGradientDescent",
}
"""raypipe's names of the attacks that the toolbox also has, with the toolbox's class names."""
OURS = frozenset({"self", "classifier", "estimator", "batch_size", "verbose", "summary_writer"})
"""Constructor arguments that an experiment cannot set here; `batch_size` has a field of its own."""

_PATCH = "it makes one patch for all images, not an adversarial image of each"
_TENSORFLOW = "it runs TensorFlow models only"
_GUIDE = "it needs a second image for each tile, whose features it imitates, and an experiment names none"
_VIDEO = "it attacks videos"
_DETECTOR = "it attacks object detectors"
UNFIT = {
    "AdversarialPatch": _PATCH,
    "AdversarialPatchNumpy": _PATCH,
    "AdversarialPatchPyTorch": _PATCH,
    "AdversarialPatchTensorFlowV2": _PATCH,
    "FeatureAdversariesNumpy": _GUIDE,
    "FeatureAdversariesPyTorch": _GUIDE,
    "FeatureAdversariesTensorFlowV2": _TENSORFLOW,
    "FrameSaliencyAttack": _VIDEO,
    "GRAPHITEBlackbox": "it needs an image of each target class, and an experiment names none",
    "GeoDA": "it writes a file into the working directory, and fails with NumPy 2",
    "LaserAttack": "it takes a Python object that makes laser beams, which a file cannot hold",
    "LowProFool": "it changes the rows of a table, whose columns it must be told the importance of",
    "MalwareGDTensorFlow": "it changes the bytes of programs",
    "OverTheAirFlickeringPyTorch": _VIDEO,
    "OverloadPyTorch": _DETECTOR,
    "ProjectedGradientDescentTensorFlowV2": _TENSORFLOW,
    "SNAL": _DETECTOR,
}
"""Classes that cannot attack tiles, although they accept an image classifier or do not state what they accept."""
PACKAGES = {
    "AutoAttack": "multiprocess",
    "BrendelBethgeAttack": "numba",
    "CompositeAdversarialAttackPyTorch": "kornia",
    "GRAPHITEWhiteboxPyTorch": "cv2",
}
"""Packages that some classes import when they are used, although the toolbox does not require them."""
AIMED = frozenset({"GRAPHITEWhiteboxPyTorch", "SaliencyMapMethod", "TargetedUniversalPerturbation"})
"""Classes that always aim at a target class."""
LABELED = frozenset({"CompositeAdversarialAttackPyTorch"})
"""Classes that need the true classes and do not use the predictions instead."""
PROBABILITIES = frozenset({"SimBA", "VirtualAdversarialMethod"})
"""Classes that reject a model whose outputs are logits."""
OWN_BATCHES = frozenset({"ShadowAttack", "SimBA", "ZooAttack"})
"""Classes whose batch size is not a number of tiles, or must be 1."""
ONE_BY_ONE = frozenset({"ShadowAttack"})
"""Classes that attack only a single tile at a time."""


def get_attack_class(name: str) -> Any:
    """Return the toolbox's class of an attack.

    Parameters
    ----------
    name
        raypipe's name of an attack that the toolbox also has, or the name of a class in ``art.attacks.evasion``.

    Raises
    ------
    ValueError
        If there is no such class, with the similar names in the message; or if the class cannot attack tiles, with the
        reason in the message.
    """
    from art.attacks import evasion  # noqa: PLC0415  See the module's docstring.
    from art.attacks.attack import EvasionAttack  # noqa: PLC0415

    name = CLASSES.get(name, name)
    _require_package(name, PACKAGES.get(name))
    attack = getattr(evasion, name, None)
    if not (inspect.isclass(attack) and issubclass(attack, EvasionAttack)):
        known = [*CLASSES, *(key for key, value in vars(evasion).items() if inspect.isclass(value))]
        raise ValueError(
            f"the Adversarial Robustness Toolbox has no attack {name!r}, expected {', '.join(CLASSES)} or the name of "
            f"a class in art.attacks.evasion{suggest_matches(name, known)}"
        )
    unfit = UNFIT.get(name) or _find_other_estimator(attack)
    if unfit:
        raise ValueError(f"the toolbox's {name} cannot attack tiles: {unfit}")
    return attack


def check_parameters(name: str, parameters: Mapping[str, Any]) -> None:
    """Check that an attack accepts these parameters.

    Parameters
    ----------
    name
        Name of the attack; see `get_attack_class`.
    parameters
        Arguments of its constructor.

    Raises
    ------
    ValueError
        If an argument is unknown or missing, or if the constructor rejects one. In the last case the message is the
        toolbox's.
    """
    attack = get_attack_class(name)
    accepted = inspect.signature(attack.__init__).parameters
    allowed = sorted(accepted.keys() - OURS)
    unknown = sorted(parameters.keys() - allowed)
    if unknown:
        raise ValueError(f"{name} takes no {', '.join(unknown)}: expected some of {', '.join(allowed) or '(none)'}")
    missing = [key for key in allowed if accepted[key].default is inspect.Parameter.empty and key not in parameters]
    if missing:
        raise ValueError(f"{name} needs {', '.join(missing)}, which have no default")
    if attack.__name__ == "SignOPTAttack" and parameters.get("targeted", True):
        raise ValueError(f"{name} reaches a class only from an image of that class: say `targeted: false`")
    if attack.__name__ in {"PixelAttack", "ThresholdAttack"} and parameters.get("es", accepted["es"].default) == 0:
        _require_package(f"{name} with `es: 0`", "cma", "; or say `es: 1`")
    try:
        attack(to_art_classifier(_AnyModel(), (3, 8, 8), 3, "cpu"), **parameters)
    except Exception as error:  # The constructor is foreign code and may raise any exception.
        raise ValueError(f"{name}: {error}") from error


def to_art_classifier(model: nn.Module, shape: tuple[int, ...], classes: int, device: str) -> Any:
    """Return a model as a classifier of the toolbox.

    Parameters
    ----------
    model
        A network from images (n, channels, h, w) in [0, 1] to logits.
    shape
        Shape of an image.
    classes
        Number of classes.
    device
        Type of the device that the model is on.
    """
    from art.estimators.classification import PyTorchClassifier  # noqa: PLC0415

    return PyTorchClassifier(
        model=model.eval(),
        loss=nn.CrossEntropyLoss(),
        input_shape=shape,
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="cpu" if device == "cpu" else "gpu",
    )


class _AnyModel(nn.Module):
    """A stand-in for the model while an attack's parameters are checked."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(Tensor([1.0]))

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * images.flatten(1)[:, :3]


def _find_other_estimator(attack: Any) -> str | None:
    """Return the kind of model that an attack needs if it is not an image classifier, else None."""
    from art.estimators.classification import PyTorchClassifier  # noqa: PLC0415

    for requirement in attack._estimator_requirements:
        kinds = requirement if isinstance(requirement, tuple) else (requirement,)
        if not issubclass(PyTorchClassifier, kinds):
            return f"it needs a model of another kind, {' or '.join(kind.__name__ for kind in kinds)}"
    return None


def _require_package(who: str, package: str | None, otherwise: str = "") -> None:
    if package and importlib.util.find_spec(package) is None:
        distribution = {"cv2": "opencv-python-headless"}.get(package, package)
        raise ValueError(f"{who} needs the Python package {distribution}, which is not installed{otherwise}")
