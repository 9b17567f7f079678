"""The forecast of `raypipe plan --estimate` as JSON, in a process of its own, which starts as cold as a user's does."""

import json
import sys
import time

from raypipe.execution.forecast.forecast import forecast
from raypipe.experiment.load import load_experiment
from raypipe.plan.listing import prepare


def main() -> None:
    """Run ``python -m benchmarks.pipeline.estimate FILE [FIELD=VALUE ...]``."""
    begun = time.perf_counter()
    prepared = prepare(load_experiment(sys.argv[1], sys.argv[2:]))
    found = forecast(prepared)
    stages = found.stages(prepared.experiment.resources)
    print(
        json.dumps(
            {
                "took": time.perf_counter() - begun,
                "workers": found.workers,
                "wall": sum(s.wall for s in stages) + found.besides,
                "stages": {s.stage: {"seconds": s.seconds, "passes": s.passes, "wall": s.wall} for s in stages},
                "bytes": sum(s.size for s in stages),
                "attacks": {
                    each.cell.name: [each.cell.model, each.cell.spec.attack.name, each.seconds]
                    for each in found.cells
                    if each.cell.stage == "attack"
                },
            }
        )
    )


if __name__ == "__main__":
    main()
