"""Columns of the tables of results. All are plain Parquet: pandas and pyarrow read them without Ray."""

import pyarrow as pa

PER_TILE = pa.schema(
    [
        ("subject", pa.string()),
        ("protocol", pa.string()),
        ("role", pa.string()),
        ("attack", pa.string()),
        ("source", pa.string()),
        ("sample_id", pa.string()),
        ("group_id", pa.string()),
        ("label", pa.string()),
        ("prediction", pa.string()),
        ("correct", pa.bool_()),
        ("l0", pa.float64()),
        ("l2", pa.float64()),
        ("linf", pa.float64()),
    ]
)
"""Prediction of each model for each tile that it was tested on. It is not stored, but made from predictions and
adversarial tiles by `raypipe.report.results.Results.tiles`. Labels are names of classes. The sizes of the perturbation
are as in `raypipe.storage.schemas.ADVERSARIALS`, and null for clean tiles."""


def _list_interval_columns(name: str) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.float64()), (f"{name}_low", pa.float64()), (f"{name}_high", pa.float64())]


def _list_label_interval_columns(name: str) -> list[tuple[str, pa.DataType]]:
    return [(column, pa.list_(kind)) for column, kind in _list_interval_columns(name)]


SUBJECT = [
    ("subject", pa.string()),
    ("model", pa.string()),
    ("backbone", pa.string()),
    ("split", pa.string()),
    ("seed", pa.int64()),
    ("defense", pa.string()),
    ("hardened_on", pa.string()),
]
"""Columns that identify a model under test: see `raypipe.evaluation.results.run.SubjectRecord`."""

THREAT = [
    ("norm", pa.string()),
    ("eps", pa.float64()),
    ("stored_eps", pa.float64()),
    ("limits", pa.string()),
    ("knowledge", pa.string()),
    ("goal", pa.string()),
    ("pixels", pa.string()),
]
"""Columns of a threat model: see `raypipe.base.threat.ThreatModel`. Without `eps` the perturbation is
unbounded, but minimal. `eps` is the requested radius. `stored_eps` is the radius that 8-bit pixels allow: in linf whole
steps of 1/255. `limits` are those that no norm describes, as text."""

QUARTILES = pa.struct([("lower", pa.float64()), ("median", pa.float64()), ("upper", pa.float64())])

RESULTS = pa.schema(
    [
        *SUBJECT,
        ("protocol", pa.string()),
        ("role", pa.string()),
        ("attack", pa.string()),
        ("method", pa.string()),
        ("source", pa.string()),
        *THREAT,
        ("tiles", pa.int64()),
        ("groups", pa.int64()),
        ("broken", pa.int64()),
        *_list_interval_columns("accuracy"),
        *_list_interval_columns("accuracy_reweighted"),
        ("chance", pa.float64()),
        ("labels", pa.list_(pa.string())),
        *_list_label_interval_columns("precision"),
        *_list_label_interval_columns("recall"),
        *_list_label_interval_columns("f1"),
        ("support", pa.list_(pa.int64())),
        ("confusion", pa.list_(pa.list_(pa.int64()))),
        *_list_interval_columns("cancer_called_benign"),
        *_list_interval_columns("benign_called_cancer"),
        *_list_interval_columns("loss"),
        *_list_interval_columns("confidence"),
        *_list_interval_columns("calibration_error"),
        (
            "reliability",
            pa.list_(
                pa.struct(
                    [
                        ("low", pa.float64()),
                        ("high", pa.float64()),
                        ("tiles", pa.int64()),
                        ("confidence", pa.float64()),
                        *_list_interval_columns("accuracy"),
                    ]
                )
            ),
        ),
        ("l0", QUARTILES),
        ("l2", QUARTILES),
        ("linf", QUARTILES),
        ("float_success_rate", pa.float64()),
        ("forwards", pa.int64()),
        ("backwards", pa.int64()),
        ("seconds", pa.float64()),
        ("device", pa.string()),
        ("tiles_key", pa.string()),
        ("predictions_key", pa.string()),
        ("stamps", pa.list_(pa.string())),
    ]
)
"""One row for each model under test and each set of tiles, and for its worst cases. The protocol ``clean`` is of the
full test set. ``clean on attacked tiles`` is of the attacked tiles, as are all rows under attack. Attacked tiles are
chosen with equally many of each class. `accuracy_reweighted` has the class shares of the full test set, and is null if
one of its classes has no attacked tile. Figures have the bounds of their 95 % intervals. Quartiles are of the
perturbations that fool the model, and null if too few tiles are fooled. Passes and seconds are the total cost of making
the tiles."""

CURVES = pa.schema(
    [
        *SUBJECT,
        ("attack", pa.string()),
        ("norm", pa.string()),
        ("eps", pa.list_(pa.float64())),
        ("robust_accuracy", pa.list_(pa.float64())),
        ("robust_accuracy_low", pa.list_(pa.float64())),
        ("robust_accuracy_high", pa.list_(pa.float64())),
        ("quartiles", QUARTILES),
        ("fooled", pa.int64()),
        ("attacked", pa.int64()),
    ]
)
"""Robust accuracy against the size of the perturbation, for each attack on the model itself. The row without an attack
uses the smallest perturbations that any of them, or any transferred tile, needed."""

CERTIFIED = pa.schema(
    [
        *SUBJECT,
        ("norm", pa.string()),
        ("eps", pa.float64()),
        ("tiles", pa.int64()),
        *_list_interval_columns("certified_accuracy"),
        *_list_interval_columns("robust_accuracy"),
    ]
)
"""Certified accuracy and robust accuracy within each radius, for models whose defense gives certificates. The first
cannot be larger than the second unless a certificate is wrong."""

COSTS = pa.schema(
    [
        ("stage", pa.string()),
        ("cell", pa.string()),
        ("model", pa.string()),
        ("kind", pa.string()),
        ("key", pa.string()),
        ("forwards", pa.int64()),
        ("backwards", pa.int64()),
        ("seconds", pa.float64()),
        ("device", pa.string()),
    ]
)
"""Cost of each cell of the run, including cached results: see `raypipe.storage.costs.Cost`. Null if its artifact does
not contain it."""

TRAININGS = pa.schema(
    [
        *SUBJECT,
        ("kind", pa.string()),
        ("hardening_passes", pa.int64()),
        ("forwards", pa.int64()),
        ("backwards", pa.int64()),
        ("seconds", pa.float64()),
        ("device", pa.string()),
    ]
)
"""Cost of the training of each model under test, with that of the models and adversarial tiles that it learned from.
See `raypipe.evaluation.results.trainings`. `hardening_passes` counts the fit of its defense alone, and is null for an
undefended model."""

CANDIDATES = pa.schema(
    [
        *SUBJECT,
        ("candidate", pa.int64()),
        ("settings", pa.list_(pa.string())),
        ("state", pa.string()),
        ("epochs", pa.int64()),
        ("all_epochs", pa.int64()),
        ("score", pa.float64()),
        ("measure", pa.string()),
        ("chosen", pa.bool_()),
    ]
)
"""Candidates of each search. `settings` are those in which candidates differ. `epochs` is the number of epochs that the
candidate was trained for, of `all_epochs`. `score` is its `measure` on held-out training tiles, and null if none of its
epochs was rated. The best candidate that reached its last epoch is `chosen`."""

DIFFERENCES = pa.schema(
    [
        *SUBJECT,
        ("against", pa.string()),
        ("measure", pa.string()),
        ("attack", pa.string()),
        ("norm", pa.string()),
        ("eps", pa.float64()),
        ("paired", pa.bool_()),
        *_list_interval_columns("difference"),
        ("only_first", pa.int64()),
        ("only_second", pa.int64()),
        ("p_value", pa.float64()),
        ("p_adjusted", pa.float64()),
    ]
)
"""Accuracy of a model minus that of another one, on the same tiles if `paired`, otherwise on another split's tiles.
`p_value` is that of the exact sign-flip permutation test over groups, and null if not paired. `p_adjusted` is Holm's,
over all rows of the run's table."""

CORRUPTIONS = pa.schema(
    [
        *SUBJECT,
        ("corruption", pa.string()),
        ("severity", pa.int64()),
        ("level", pa.float64()),
        ("tiles", pa.int64()),
        ("groups", pa.int64()),
        *_list_interval_columns("clean_accuracy"),
        *_list_interval_columns("accuracy"),
        *_list_interval_columns("drop"),
        ("baseline", pa.string()),
        ("relative_error", pa.float64()),
    ]
)
"""Accuracy of each model under each corruption and severity, and of the same tiles unchanged. `drop` is the paired
difference. `relative_error` is the error as a share of that of the model `baseline`, and null if that makes none. A row
with severity 0 is the mean over all severities of its corruption."""

UNIVERSAL = pa.schema(
    [
        *SUBJECT,
        ("source", pa.string()),
        ("norm", pa.string()),
        ("eps", pa.float64()),
        ("tiles", pa.int64()),
        ("groups", pa.int64()),
        *_list_interval_columns("clean_accuracy"),
        *_list_interval_columns("accuracy"),
        *_list_interval_columns("random_accuracy"),
        *_list_interval_columns("beyond_random"),
        *_list_interval_columns("fooled"),
        *_list_interval_columns("random_fooled"),
    ]
)
"""Accuracy of each model under the universal perturbation of each model, `source`, on the same tiles: clean, with the
pattern, and with a random pattern of the same size. `beyond_random` is random_accuracy - accuracy, paired. `fooled` and
`random_fooled` are shares of tiles whose prediction changes."""

EXTERNAL = pa.schema(
    [
        *SUBJECT,
        ("set_id", pa.string()),
        ("label", pa.string()),
        ("tiles", pa.int64()),
        ("groups", pa.int64()),
        ("own_tiles", pa.int64()),
        ("own_groups", pa.int64()),
        *_list_interval_columns("own_accuracy"),
        *_list_interval_columns("accuracy"),
        *_list_interval_columns("drop"),
        *_list_interval_columns("own_balanced_accuracy"),
        *_list_interval_columns("balanced_accuracy"),
        *_list_interval_columns("balanced_drop"),
        ("chance", pa.float64()),
        ("outside", pa.int64()),
        ("own_outside", pa.int64()),
        ("left_out", pa.list_(pa.string())),
        ("synthetic", pa.bool_()),
        ("siblings", pa.int64()),
        ("compared", pa.int64()),
    ]
)
"""Accuracy of each model on each external test set, beside that on its own test tiles of the mapped classes. A row with
a `label` is about the tiles of that class, and its accuracies are recalls. `drop` is own_accuracy - accuracy. Balanced
accuracy is the mean of the recalls; `chance` is that of a model that always predicts the same class. They are null in
the rows of single classes. `outside` and `own_outside` are numbers of predictions of classes that are not mapped.
`left_out` has the reasons for which files of the set are not tiles, with their numbers. `siblings` is the number of
tiles that seem to be siblings of a training tile, among `compared` ones; both are null if the training tiles are
unknown."""

QUERIES = pa.schema(
    [
        *SUBJECT,
        ("attack", pa.string()),
        ("method", pa.string()),
        *THREAT,
        ("queries", pa.int64()),
        ("tiles", pa.int64()),
        ("groups", pa.int64()),
        *_list_interval_columns("accuracy"),
    ]
)
"""Accuracy of each model after a number of queries for each tile, under each attack that only queries the model. A tile
counts as fooled once the attack has found an image within the ball that fools the model, and stored it in 8 bits."""

OVERVIEW = pa.schema(
    [
        *SUBJECT,
        ("threat", pa.string()),
        ("detail", pa.string()),
        ("tiles", pa.int64()),
        ("groups", pa.int64()),
        *_list_interval_columns("accuracy"),
        ("against", pa.string()),
        *_list_interval_columns("difference"),
    ]
)
"""Accuracy of each model under each kind of threat that was measured, see `raypipe.evaluation.results.overview`.
`difference` is the accuracy minus that of the undefended model `against` on the same tiles, and null for undefended
models."""

CHECKS = pa.schema(
    [
        *SUBJECT,
        ("check", pa.string()),
        ("verdict", pa.string()),
        ("figure", pa.string()),
        ("meaning", pa.string()),
        ("source", pa.string()),
    ]
)
"""Sanity checks of every model under test."""
