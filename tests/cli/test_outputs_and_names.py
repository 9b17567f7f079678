"""Options for outputs and class names: what is checked before any work, and what is never lost."""

import io
import sys
from pathlib import Path

import pytest

from raypipe.base.errors import ConfigError
from raypipe.base.places import require_writable_file
from raypipe.base.tracking import require_tracking_address
from raypipe.cli.app import main
from raypipe.cli.given import read_names
from raypipe.cli.options import local_path
from raypipe.cli.terminal import escape_unencodable
from raypipe.execution.python_api import open_results
from raypipe.stages.cluster import explain_local_failure
from tests.cli.conftest import Command
from tests.data.layouts import png, write


def test_names_of_classes_may_have_spaces_around_them_and_commas_in_them(tmp_path: Path) -> None:
    assert read_names("a, b ,c") == ("a", "b", "c")
    assert read_names('"normal, benign", malignant') == ("normal, benign", "malignant")
    (tmp_path / "names.txt").write_text("normal, benign\n malignant \n\n")
    assert read_names(str(tmp_path / "names.txt")) == ("normal, benign", "malignant")


def test_a_file_of_names_may_be_that_of_another_system(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-8-sig", "utf-8"):
        (tmp_path / "names.txt").write_text("gutartig\nbösartig\n", encoding=encoding)
        assert read_names(str(tmp_path / "names.txt")) == ("gutartig", "bösartig")
    (tmp_path / "names.txt").write_text("bösartig\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"^--labels .*names\.txt: expected UTF-8 text .*save it as UTF-8"):
        read_names(str(tmp_path / "names.txt"))


@pytest.mark.parametrize("text", ["a,a", "a,,b", ","])
def test_names_that_are_empty_or_equal_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected different names"):
        read_names(text)


def test_an_output_is_checked_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiles = write(tmp_path, {f"{name}/1.png": png(1) for name in "ab"}, as_zip=False)
    monkeypatch.setattr("raypipe.data.audit.audit.audit_source", None)  # any work would raise
    (tmp_path / "file").write_text("")
    for out, expected in ((tmp_path, "is a folder"), (tmp_path / "file" / "g.csv", "cannot be written")):
        monkeypatch.setattr(sys, "argv", ["raypipe", "audit", tiles, "--out", str(out)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert expected in capsys.readouterr().err
    require_writable_file(tmp_path / "new" / "g.csv")
    assert (tmp_path / "new").is_dir()


@pytest.mark.parametrize("place", ["/proc/new", "file/new", "/dev/null/new"])
def test_a_place_that_cannot_be_written_is_refused(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    with pytest.raises(PermissionError, match=rf"^{place}: cannot be written \(.+\); give a place that can"):
        open_results(Path(place))
    with pytest.raises(PermissionError, match=rf"^{place}: cannot be written"):
        require_writable_file(Path(place, "g.csv"))


def test_a_uri_is_no_place_for_an_output(tmp_path: Path, cli: Command) -> None:
    ended = cli("attack", "model.pt2", "tiles", "--out", "s3://bucket/out")
    assert ended.code == 2
    assert "is a URI; give a local folder" in " ".join(ended.err.replace("│", "").split())
    assert not any(tmp_path.iterdir())
    with pytest.raises(ValueError, match="is a URI; give a local folder"):
        open_results(Path("s3://bucket/out"))


def test_a_home_is_expanded_in_every_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path(Path("~/x")) == tmp_path / "x"
    assert local_path(None) is None


def test_what_an_encoding_lacks_is_escaped() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    escape_unencodable(stream)
    stream.write("腺癌 é")
    stream.flush()
    assert stream.buffer.getvalue() == "\\u817a\\u764c é".encode("cp1252")  # type: ignore[attr-defined]


@pytest.mark.parametrize("address", ["https://host", "file:mlruns", "sqlite:///mlflow.db", "tensorboard:logs"])
def test_an_address_to_log_to_is_known(address: str) -> None:
    require_tracking_address(address)


@pytest.mark.parametrize("address", ["wandb", "file:", "tensorbord:logs", "mlruns", ""])
def test_an_unknown_address_to_log_to_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="is no address to log to; expected the address of an MLflow server"):
        require_tracking_address(address)


def test_a_ray_that_cannot_start_names_the_variable_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = OSError("AF_UNIX path length cannot exceed 107 bytes")
    assert "set TMPDIR" in explain_local_failure(long)
    not_ascii = UnicodeEncodeError("ascii", "/tmp/ü", 5, 6, "ordinal not in range(128)")
    assert "set TMPDIR" in explain_local_failure(not_ascii)
    with monkeypatch.context() as environment:
        environment.setenv("RAY_TMPDIR", "/x/" + "y" * 60)
        assert "set RAY_TMPDIR, which is /x/yyy" in explain_local_failure(long)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")
    told = explain_local_failure(OSError(30, "Read-only file system", str(tmp_path / ".ray")))
    assert f"set HOME, which is {tmp_path} now" in told
    assert "no Ray cluster" not in told


def test_a_track_command_refuses_an_unknown_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["raypipe", "track", "x", "--to", "wandb", "--storage", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == ConfigError.status
    assert "'wandb' is no address" in capsys.readouterr().err
