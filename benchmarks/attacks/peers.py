"""The other libraries' contestants, called on the plain model as their documentation says.

A library is imported after the start of the benchmark, so that a missing or broken library costs its own lines only.
"""

import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.attacks.contestants import EPS, Contestant, Plain, Task

ART, TORCHATTACKS, FOOLBOX, ADV_LIB = "ART", "torchattacks", "foolbox", "adv-lib"
MODULES = {
    ART: ("art.attacks.evasion", "art.estimators.classification"),
    TORCHATTACKS: ("torchattacks",),
    FOOLBOX: ("foolbox",),
    ADV_LIB: ("adv_lib.attacks",),
}
DISTRIBUTIONS = {
    ART: "adversarial-robustness-toolbox",
    TORCHATTACKS: "torchattacks",
    FOOLBOX: "foolbox",
    ADV_LIB: "adv-lib",
}
PAIR_TABLES = 32
"""Approximate bytes that torchattacks' JSMA needs for each pair of features, because it makes tables of all pairs."""


def load(library: str) -> None:
    """Import a library before any timing; it raises the error of the import."""
    if library == ADV_LIB and "visdom" not in sys.modules and importlib.util.find_spec("visdom") is None:
        # It is needed only to draw curves in a browser, and its installation fails with current setuptools.
        sys.modules["visdom"] = types.ModuleType("visdom")
    for module in MODULES.get(library, ()):
        importlib.import_module(module)


def _art(name: str, parameters: Mapping[str, Any], task: Task) -> Tensor:
    from art.attacks import evasion  # noqa: PLC0415  see `load`
    from art.estimators.classification import PyTorchClassifier  # noqa: PLC0415

    classes = task.logits.shape[1]
    classifier = PyTorchClassifier(
        model=Plain(task.model),
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=tuple(task.images.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if task.images.is_cuda else "cpu",
    )
    kind = getattr(evasion, name)
    quiet = {"verbose": False} if "verbose" in kind.attack_params else {}
    attack = kind(classifier, batch_size=len(task), **quiet, **parameters)
    aimed = np.eye(classes, dtype=np.float32)[task.targets.cpu().numpy()] if name == "SaliencyMapMethod" else None
    made: NDArray[np.float32] = attack.generate(x=task.images.cpu().numpy(), y=aimed)
    return torch.from_numpy(made)


def _torchattacks(name: str, parameters: Mapping[str, Any], task: Task) -> Tensor:
    module = importlib.import_module("torchattacks")
    made: Tensor = getattr(module, name)(Plain(task.model), **parameters)(task.images, task.labels)
    return made.detach()


def run_autoattack(task: Task) -> Tensor:
    """Run torchattacks' port of the authors' standard ensemble, which needs the number of classes: at least four."""
    return _torchattacks("AutoAttack", {"eps": EPS, "n_classes": task.logits.shape[1]}, task)


def _foolbox(name: str, parameters: Mapping[str, Any], task: Task) -> Tensor:
    module = importlib.import_module("foolbox")
    model = module.PyTorchModel(Plain(task.model), bounds=(0, 1), device=task.images.device)
    settings = dict(parameters)
    radius = settings.pop("epsilons", None)  # an attack without a radius finds the smallest perturbation
    made: Tensor = getattr(module.attacks, name)(**settings)(model, task.images, task.labels, epsilons=radius)[1]
    return made.detach()


def _adv_lib(name: str, parameters: Mapping[str, Any], task: Task) -> Tensor:
    attack = getattr(importlib.import_module("adv_lib.attacks"), name)
    made: Tensor = attack(Plain(task.model), task.images, task.labels, **parameters)
    return made.detach()


CALLS = {ART: _art, TORCHATTACKS: _torchattacks, FOOLBOX: _foolbox, ADV_LIB: _adv_lib}


def one_pair(task: Task) -> Tensor:
    """Run a single step of torchattacks' JSMA, whose cost grows with the square of the number of features.

    Raises
    ------
    MemoryError
        If its tables do not fit: the system would end this process without a message.
    """
    features = task.images[0].numel()
    needed = PAIR_TABLES * features**2
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    if needed > free:
        raise MemoryError(
            f"tables of {features:,}^2 pairs need about {needed / 2**30:.0f} GiB, {free / 2**30:.0f} free"
        )
    # The attack takes ceil(features * gamma / 2) pairs.
    attack = importlib.import_module("torchattacks").JSMA(Plain(task.model), theta=1.0, gamma=1.5 / features)
    attack.set_mode_targeted_by_function(lambda _images, _labels: task.targets, quiet=True)
    made: Tensor = attack(task.images, task.labels)
    return made.detach()


def _peer(
    attack: str,
    library: str,
    label: str,
    name: str,
    /,
    *,
    slow: bool = False,
    one_by_one: bool = False,
    **parameters: Any,
) -> Contestant:
    run = partial(CALLS[library], name, parameters)
    return Contestant(
        attack, library, label, run, parameters={"name": name, **parameters}, slow=slow, one_by_one=one_by_one
    )


_CW, _JSMA = "carlini_wagner_l2", "saliency_map"
_LINF: dict[str, Any] = {"norm": np.inf, "eps": EPS}
_STEP = EPS / 4
"""Step size of all projected gradient descents, equal to raypipe's own."""

PEERS = (
    _peer("deepfool", ART, "batch 1", "DeepFool", one_by_one=True),
    _peer("deepfool", ART, "full batch", "DeepFool"),
    _peer("deepfool", TORCHATTACKS, "DeepFool", "DeepFool", steps=50),
    _peer("deepfool", FOOLBOX, "L2DeepFool", "L2DeepFoolAttack", steps=50),
    _peer("deepfool", ADV_LIB, "df", "df", steps=50),
    _peer("deepfool", ADV_LIB, "sdf", "sdf"),
    _peer(_CW, ART, "batch 1", "CarliniL2Method", slow=True, one_by_one=True),
    _peer(_CW, ART, "10x10 full batch", "CarliniL2Method", slow=True),
    _peer(_CW, TORCHATTACKS, "CW", "CW"),
    _peer(_CW, FOOLBOX, "9x100", "L2CarliniWagnerAttack", slow=True, binary_search_steps=9, steps=100),
    _peer(_CW, ADV_LIB, "9x100", "carlini_wagner_l2", slow=True, binary_search_steps=9, max_iterations=100),
    _peer("minimal_l2", ADV_LIB, "ddn 50", "ddn", steps=50, levels=None),
    _peer("minimal_l2", ADV_LIB, "ddn 100", "ddn", steps=100, levels=None),
    _peer("minimal_l2", ADV_LIB, "ddn 100, 256 levels", "ddn", steps=100, levels=256),
    _peer("minimal_l2", ADV_LIB, "fmn 100", "fmn", norm=2, steps=100),
    _peer("minimal_l2", ADV_LIB, "alma 100", "alma", num_steps=100),
    _peer("minimal_l2", ADV_LIB, "pdgd 100", "pdgd", num_steps=100),
    _peer(_JSMA, ART, "batch 1", "SaliencyMapMethod", slow=True, one_by_one=True),
    Contestant(_JSMA, TORCHATTACKS, "one step", one_pair, parameters={"name": "JSMA", "theta": 1}, slow=True, tiles=1),
    _peer("sparse_l0", ADV_LIB, "sigma_zero 50", "sigma_zero", num_steps=50),
    _peer("sparse_l0", ADV_LIB, "sigma_zero 100", "sigma_zero", num_steps=100),
    _peer("pgd", ART, "PGD 40", "ProjectedGradientDescent", max_iter=40, eps_step=_STEP, **_LINF),
    _peer("pgd", TORCHATTACKS, "PGD 40", "PGD", eps=EPS, alpha=_STEP, steps=40, random_start=False),
    _peer("pgd", FOOLBOX, "PGD 40", "LinfPGD", abs_stepsize=_STEP, steps=40, random_start=False, epsilons=EPS),
    _peer("pgd", ADV_LIB, "PGD 40", "pgd_linf", ε=EPS, absolute_step_size=_STEP, steps=40, random_init=False),
    _peer(
        "apgd",
        ART,
        "APGD-CE 20",
        "AutoProjectedGradientDescent",
        max_iter=20,
        nb_random_init=1,
        loss_type="cross_entropy",
        eps_step=2 * EPS,
        **_LINF,
    ),
    _peer("apgd", TORCHATTACKS, "APGD-CE 20", "APGD", eps=EPS, steps=20),
    _peer("apgd", ADV_LIB, "APGD-CE 20", "apgd", n_iter=20, loss_function="ce", **_LINF),
    Contestant("autoattack", TORCHATTACKS, "standard", run_autoattack, parameters={"name": "AutoAttack", "eps": EPS}),
    _peer("autoattack", ART, "standard", "AutoAttack", slow=True, eps_step=_STEP, **_LINF),
)
