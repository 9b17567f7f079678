"""Models of RobustBench (Croce et al., 2021, arXiv:2010.09670), by the names of its `load_model`."""

from pathlib import Path
from typing import Any

from torch import nn

from raypipe.base.settings import suggest_matches
from raypipe.models.state_files import read_state

PREFIX = "robustbench:"
DATASET, THREAT = "cifar10", "Linf"
EXTRA = "pip install robustbench 'setuptools<81' git+https://github.com/fra31/auto-attack"
"""Release 1.1.1 imports two packages that it does not require: pkg_resources and the authors' autoattack."""


def is_robustbench(where: str) -> bool:
    """Return True if a model is named as one of RobustBench."""
    return where.startswith(PREFIX)


def open_robustbench(where: str, weights: str | None = None) -> tuple[nn.Module, str]:
    """Return a model of RobustBench with its normalization inside, and its name.

    Parameters
    ----------
    where
        ``robustbench:NAME`` for CIFAR-10 and Linf, or ``robustbench:DATASET/THREAT/NAME``, such as
        ``robustbench:cifar10/L2/Augustin2020Adversarial``.
    weights
        File of the model's state, such as one that RobustBench has downloaded or that was trained further; nothing in
        it is executed. Default: RobustBench loads or downloads its own.

    Raises
    ------
    ValueError
        If RobustBench is not installed, has no such model, or cannot load it.
    """
    dataset, threat, name = _read_name(where)
    try:
        from robustbench.model_zoo import model_dicts  # noqa: PLC0415  optional
        from robustbench.utils import load_model  # noqa: PLC0415
    except ImportError as error:
        raise ValueError(f"{where}: needs the package robustbench ({error}): {EXTRA}") from error
    known = _list_models(model_dicts, dataset, threat)
    if name not in known:
        raise ValueError(
            f"{where}: RobustBench has no model {name!r} for {dataset}/{threat}{suggest_matches(name, known)}; it has "
            f"{len(known)}: https://robustbench.github.io"
        )
    if weights is None:
        try:
            network: nn.Module = load_model(model_name=name, dataset=dataset, threat_model=threat)
        except Exception as error:  # downloads raise many kinds of errors
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"{where}: RobustBench cannot load it ({type(error).__name__}: {reason}); give its checkpoint as "
                "--weights FILE"
            ) from error
        return network.eval(), name
    network = known[name]["model"]()
    own = network.state_dict()
    state = read_state(str(Path(weights)), own)
    wrong = [key for key, tensor in own.items() if key not in state or state[key].shape != tensor.shape]
    wrong = [key for key in wrong if key.rpartition(".")[2] not in ("mu", "sigma", "mean", "std")]  # constants
    if wrong:
        raise ValueError(
            f"{weights}: is no state of RobustBench's {name}: {len(wrong)} of {len(own)} tensors are missing or have "
            f"another shape, first {wrong[0]!r}"
        )
    network.load_state_dict({**own, **{key: state[key] for key in own if key in state}})
    return network.eval(), name


def _read_name(where: str) -> tuple[str, str, str]:
    parts = where.removeprefix(PREFIX).split("/")
    if len(parts) == 1 and parts[0]:
        return DATASET, THREAT, parts[0]
    if len(parts) == 3 and all(parts):
        return parts[0], parts[1], parts[2]
    raise ValueError(f"{where}: expected {PREFIX}NAME, or {PREFIX}DATASET/THREAT/NAME such as cifar10/Linf/NAME")


def _list_models(zoo: Any, dataset: str, threat: str) -> dict[str, Any]:
    """Return the models of a data set and a threat model; the zoo is indexed by enumerations of its own."""
    threats = {key.value: models for key, models in zoo.items()}.get(dataset)
    if threats is None:
        raise ValueError(f"RobustBench has no data set {dataset!r}, expected {', '.join(key.value for key in zoo)}")
    found: dict[str, Any] | None = {key.value: models for key, models in threats.items()}.get(threat)
    if found is None:
        raise ValueError(
            f"RobustBench has no threat model {threat!r} for {dataset}, expected "
            f"{', '.join(key.value for key in threats)}"
        )
    return found
