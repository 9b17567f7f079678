"""Columns of the tables of artifacts. All are plain Parquet: pandas and pyarrow read them without Ray."""

import pyarrow as pa

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""Losslessly encoded 8-bit RGB image, in the layout that Hugging Face `datasets` calls `Image`."""

TILES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("image", IMAGE),
        ("label", pa.int64()),
        ("label_name", pa.string()),
        ("group_id", pa.string()),
        ("split", pa.string()),
        ("source_path", pa.string()),
    ]
)

REJECTED = pa.schema(
    [
        ("source_path", pa.string()),
        ("label_name", pa.string()),
        ("reason", pa.string()),
    ]
)

ADVERSARIALS = pa.schema(
    [
        ("sample_id", pa.string()),
        ("group_id", pa.string()),
        ("image", IMAGE),
        ("label", pa.int64()),
        ("clean_prediction", pa.int64()),
        ("adversarial_prediction", pa.int64()),
        ("success", pa.bool_()),
        ("l0", pa.int64()),
        ("l2", pa.float64()),
        ("linf", pa.float64()),
        ("float_success", pa.bool_()),
        ("float_l2", pa.float64()),
        ("queries", pa.int64()),
        ("forwards", pa.int64()),
        ("backwards", pa.int64()),
        ("seconds", pa.float64()),
    ]
)
"""Adversarial tiles. l0 counts changed channel values; l2 and linf are on the [0, 1] scale. All three are of the stored
8-bit image. `float_*` describe the perturbation before rounding. `queries` is the number of queries up to the first
success of a score-based or decision-based attack, and 0 where it fails or knows gradients. Passes and seconds are per
tile."""

DIAGNOSTICS = pa.schema(
    [
        ("sample_id", pa.string()),
        ("group_id", pa.string()),
        ("label", pa.int64()),
        ("log_odds_gradient", pa.float64()),
        ("cross_entropy_gradient", pa.float64()),
        ("zero_share", pa.float64()),
        ("finite", pa.bool_()),
        ("spread", pa.float64()),
        ("repeat_difference", pa.float64()),
        ("batch_difference", pa.float64()),
        ("planted", pa.bool_()),
        ("planted_reason", pa.string()),
        ("planted_found", pa.bool_()),
        ("planted_random_found", pa.bool_()),
        ("planted_random_points", pa.int64()),
        ("forwards", pa.int64()),
        ("backwards", pa.int64()),
    ]
)
"""Behavior of a model under gradient attacks, for each tile: see `raypipe.evaluation.checks.evidence.Probe`. `planted`
is true if an adversarial example was planted, and `planted_reason` gives the reason if not: see
`raypipe.evaluation.checks.evidence.PlantedSearch`."""

CERTIFICATES = pa.schema(
    [
        ("sample_id", pa.string()),
        ("group_id", pa.string()),
        ("label", pa.int64()),
        ("norm", pa.string()),
        ("prediction", pa.int64()),
        ("radius", pa.float64()),
        ("forwards", pa.int64()),
    ]
)
"""Certificates of a model, for each tile: no perturbation of at most `radius` in `norm` changes the prediction. The
prediction is -1 if nothing is proved. See `raypipe.defenses.base.Certificates`."""

CORRUPTED = pa.schema(
    [
        ("sample_id", pa.string()),
        ("group_id", pa.string()),
        ("label", pa.int64()),
        ("clean_prediction", pa.int64()),
        ("predictions", pa.list_(pa.int64())),
    ]
)
"""Predicted classes of a model for each tile: unchanged, and with a corruption at the severities 1 to 5."""

PATTERNS = pa.schema(
    [
        ("shape", pa.list_(pa.int64())),
        ("change", pa.list_(pa.int16())),
        ("random", pa.list_(pa.int16())),
        ("fooled", pa.float64()),
        ("random_fooled", pa.float64()),
    ]
)
"""A universal perturbation, in one row: changes of 8-bit values in the order of `shape` (height, width, channels), and
those of the random pattern of the same size. See `raypipe.attacks.universal.Pattern`."""

PERTURBED = pa.schema(
    [
        ("sample_id", pa.string()),
        ("group_id", pa.string()),
        ("label", pa.int64()),
        ("clean_prediction", pa.int64()),
        ("prediction", pa.int64()),
        ("random_prediction", pa.int64()),
    ]
)
"""Predicted classes of a model for each tile: unchanged, with a universal perturbation, and with a random pattern."""

OVERLAPS = pa.schema(
    [
        ("sample_id", pa.string()),
        ("source_path", pa.string()),
        ("training_path", pa.string()),
        ("similarity", pa.float64()),
        ("sibling", pa.bool_()),
    ]
)
"""Tiles of an external test set, each with the training tile that resembles it most, and True if they seem to be
siblings: see `raypipe.data.audit.overlap.find_overlap`."""

PREDICTIONS = pa.schema(
    [
        ("sample_id", pa.string()),
        ("group_id", pa.string()),
        ("label", pa.int64()),
        ("model_key", pa.string()),
        ("tiles_key", pa.string()),
        ("logits", pa.list_(pa.float32())),
    ]
)
