"""The columns of every table that raypipe stores. All are plain Parquet: pandas and pyarrow read them without Ray."""

import pyarrow as pa

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""A losslessly encoded 8-bit RGB image, in the layout that Hugging Face `datasets` calls `Image`."""

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
        ("forwards", pa.int64()),
        ("backwards", pa.int64()),
        ("seconds", pa.float64()),
    ]
)
"""l0 counts changed channel values, l2 and linf are on the [0, 1] scale, all of the stored 8-bit image;
`float_*` describe the perturbation before it was rounded. Passes and seconds are per tile."""

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

RESULTS = pa.schema(
    [
        ("model", pa.string()),
        ("attack", pa.string()),
        ("defense", pa.string()),
        ("column", pa.string()),
        ("backbone", pa.string()),
        ("method", pa.string()),
        ("tiles", pa.int64()),
        ("accuracy", pa.float64()),
        ("labels", pa.list_(pa.string())),
        ("precision", pa.list_(pa.float64())),
        ("recall", pa.list_(pa.float64())),
        ("f1", pa.list_(pa.float64())),
        ("support", pa.list_(pa.int64())),
        ("confusion", pa.list_(pa.list_(pa.int64()))),
        ("model_key", pa.string()),
        ("tiles_key", pa.string()),
        ("predictions_key", pa.string()),
        ("stamps", pa.list_(pa.string())),
    ]
)
"""One row for each cell of the grid and each of its columns. `model`, `attack` and `defense` are the experiment's ids,
`backbone` and `method` the registry names behind the first two."""
