"""The description of an error in one line."""

from pathlib import Path

import pytest

from raypipe.base.errors import describe_error


class SilentError(Exception):
    def __str__(self) -> str:
        return str(self.missing)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("wrong size"), "ValueError: wrong size"),
        (RuntimeError("Expected 3 channels\n  got 1\n\nsee 2"), "RuntimeError: Expected 3 channels got 1 see 2"),
        (KeyError("conv1"), "KeyError: 'conv1'"),
        (TimeoutError(), "TimeoutError"),
        (SilentError(), "SilentError: it has no readable message"),
    ],
)  # fmt: skip
def test_an_error_is_described_by_its_type_and_its_whole_message(error: Exception, text: str) -> None:
    assert describe_error(error) == text


def test_a_message_of_thousands_of_names_is_cut() -> None:
    text = describe_error(RuntimeError(", ".join(f"conv{number}.weight" for number in range(9999))))
    assert text.startswith("RuntimeError: conv0.weight, conv1.weight, ")
    assert text.endswith(" ...")
    assert len(text) <= 600


def test_an_error_within_a_library_names_the_line_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "net.py").write_text("import torch\n\ndef forward(tiles):\n    return torch.cat(tiles)\n")
    monkeypatch.syspath_prepend(tmp_path)
    from own.net import forward  # type: ignore[import-not-found]  # noqa: PLC0415

    with pytest.raises(TypeError) as caught:
        forward(3)
    assert describe_error(caught.value).endswith(" (own/net.py:4)")
