"""Tree-structured Parzen estimator, TPE (Bergstra et al., 2011, NeurIPS 24), by Optuna: settings near the good ones.

TPE models the settings of the better candidates and those of the others, and draws where the first are more likely. It
proposes several candidates at a time, so that they can be trained beside each other.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raypipe.defenses.search import DRAWS, Range, SettingsSearch

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Values = Mapping[str, Any]
"""Values of the searched settings, by name."""


def explain_missing_optuna() -> str | None:
    """Return the reason why TPE cannot be used, or None."""
    if importlib.util.find_spec("optuna"):
        return None
    return "search.searcher: tpe needs Optuna: pip install 'raypipe[optuna]', or take searcher: random"


def propose(
    search: SettingsSearch, written: Values, tried: Sequence[tuple[Values, float]], count: int
) -> list[dict[str, Any]]:
    """Return new values to try, all different from each other and from those that were tried.

    Parameters
    ----------
    search
        Space and seed.
    written
        Settings of the defense as written, whose types the values take.
    tried
        Values of all candidates so far, each with its score; larger is better. The result depends on their order.
    count
        Number of candidates to propose. A space that has no more combinations has fewer.
    """
    import optuna  # noqa: PLC0415  an extra

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A seed of each round: otherwise every round would begin with the same random numbers.
    sampler = optuna.samplers.TPESampler(seed=search.seed + len(tried), n_startup_trials=1, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    space = {name: _build_distribution(dimension, written[name]) for name, dimension in search.space.items()}
    seen = []
    for values, score in tried:
        seen.append(dict(values))
        parameters = {name: _encode(search.space[name], values[name]) for name in space}
        study.add_trial(optuna.trial.create_trial(params=parameters, distributions=space, value=score))
    found: list[dict[str, Any]] = []
    for _ in range(DRAWS * count):
        if len(found) == count:
            break
        trial = study.ask(space)
        values = {name: _decode(search.space[name], trial.params[name]) for name in space}
        if values not in seen:
            found.append(values)
            seen.append(values)
    return found


def _build_distribution(dimension: Range | tuple[Any, ...], written: Any) -> "BaseDistribution":
    from optuna.distributions import (  # noqa: PLC0415  an extra
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not isinstance(dimension, Range):
        return CategoricalDistribution(tuple(range(len(dimension))))  # a choice may be a list, which Optuna refuses
    if isinstance(written, int):
        return IntDistribution(round(dimension.low), round(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _encode(dimension: Range | tuple[Any, ...], value: Any) -> Any:
    return value if isinstance(dimension, Range) else dimension.index(value)


def _decode(dimension: Range | tuple[Any, ...], parameter: Any) -> Any:
    return parameter if isinstance(dimension, Range) else dimension[parameter]
