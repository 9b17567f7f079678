import numpy as np
import pyarrow as pa
import pytest

from raypipe.storage.errors import StoreError
from raypipe.storage.tables import decode_summary, encode_summary, stack_lists

TABLE = pa.table({"sample_id": ["a", "b"], "label": [0, 1], "logits": [[0.5, 1.5], [2.5, 3.5]]})


def test_lists_become_an_array_of_rows() -> None:
    column = pa.chunked_array([[[1, 2], [3, 4]], [[5, 6]]])
    assert np.array_equal(stack_lists(column), [[1, 2], [3, 4], [5, 6]])
    assert np.array_equal(stack_lists(column.slice(1, 2)), [[3, 4], [5, 6]])


def test_lists_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="lists of 1 to 3 values"):
        stack_lists(pa.chunked_array([[[1, 2, 3], [4]]]))


def test_a_summary_of_many_batches_is_read_as_one() -> None:
    data = encode_summary(pa.concat_tables([TABLE, TABLE]))
    table = decode_summary(data, "here", None, TABLE.schema)
    assert table.equals(pa.concat_tables([TABLE, TABLE]))
    assert table["label"].num_chunks == 1
    assert decode_summary(data, "here", ["logits", "label"], TABLE.schema).column_names == ["logits", "label"]


@pytest.mark.parametrize(
    ("columns", "schema", "message"),
    [
        (["label", "group_id"], None, "here: cannot be read: column 'group_id' is missing"),
        (None, pa.schema([("label", pa.string())]), "column 'label' is int64, expected string"),
    ],
)
def test_a_summary_without_a_column_is_refused(
    columns: list[str] | None, schema: pa.Schema | None, message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        decode_summary(encode_summary(TABLE), "here", columns, schema)


def test_a_damaged_summary_is_refused() -> None:
    with pytest.raises(StoreError, match="here: cannot be read"):
        decode_summary(encode_summary(TABLE)[:-20], "here", None, None)
