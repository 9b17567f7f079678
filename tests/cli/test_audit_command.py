"""The command `raypipe audit`, as a user runs it."""

import csv
import re
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raypipe.base.errors import ConfigError
from raypipe.cli.app import app
from raypipe.data.reading.png import encode_png
from raypipe.data.tissue import render_tile

GUIDE = (Path(__file__).parents[2] / "docs" / "my-data.md").read_text()


def test_the_guide_s_command_tells_of_siblings_and_writes_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (command,) = re.findall(r"^(raypipe audit .*)$", GUIDE, re.MULTILINE)
    with zipfile.ZipFile(tmp_path / "LC25000.zip", "w") as archive, (tmp_path / "groups.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "label", "group"])
        for label in ("colon_n", "lung_scc"):
            folder = f"lung_colon_image_set/{label.split('_')[0]}_image_sets/{label}"
            for number in range(12):
                tile = render_tile(label, number // 3, number % 3, size=96, seed=0)
                archive.writestr(f"{folder}/{label}{number}.png", encode_png(tile))
                rows.writerow([f"{label}{number}.png", label, f"{label}:{number // 3}"])
            archive.writestr(f"{folder}/cut.png", b"\x89PNG")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*command.split()[1:], "--pairs", "3"])
    assert done.exit_code == 0, done.output
    assert "2 files rejected: " in done.stdout
    assert re.search(r"With a random split, \d+\.\d % of the test tiles have a sibling in training", done.stdout)
    assert "adjusted Rand index" in done.stdout
    assert "Closest pairs across the random split" in done.stdout
    with (tmp_path / "found.csv").open() as file:
        found = list(csv.DictReader(file))
    assert len(found) == 24
    assert {row["label"] for row in found} == {"colon_n", "lung_scc"}


def test_what_cannot_be_audited_is_told(tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "tile.png").write_bytes(b"")
    for arguments, message in (
        ([str(tmp_path), "--group-pattern", "["], "expected a regular expression"),
        ([str(tmp_path)], "expected at least two class folders"),
    ):
        with pytest.raises(ConfigError, match=message):
            app(["audit", *arguments], standalone_mode=False)
    with pytest.raises(ConfigError, match="nowhere: not found"):
        app(["audit", str(tmp_path / "nowhere")], standalone_mode=False)
