"""Commands that help to find one's way: versions, lists, descriptions, dry runs, and errors that say what to do."""

import json
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest

import raypipe
from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.run import write_run
from raypipe.stages import pipeline
from raypipe.storage.store import Store
from tests.cli.conftest import Command
from tests.evaluation.handmade import hand_run

EXPERIMENT = "{name: tiny, data: {source: synthetic}, models: [resnet18], attacks: [deepfool]}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(str(tmp_path / "results"))
    compute_result(store, hand_run(store))
    return store


def test_help_loads_no_slow_library() -> None:
    code = (
        "import sys\n"
        "from raypipe.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'pyarrow', 'pydantic', 'ray', 'sklearn'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "Exit status: 0: The command did its work. 1: The work failed" in " ".join(done.stdout.split())


@pytest.mark.parametrize("arguments", [["--version"], ["version"]])
def test_the_version(arguments: list[str], cli: Command) -> None:
    assert cli(*arguments).out == f"{raypipe.__version__}\n"


def test_shell_completion_can_be_installed(cli: Command) -> None:
    assert "--install-completion" in cli("--help").out


@pytest.mark.parametrize(
    ("kind", "name", "about"),
    [
        ("attacks", "pgd", "Projected gradient descent"),
        ("defenses", "trades", "Zhang et al., 2019"),
        ("models", "resnet18", "imagenet"),
        ("data", "folder", "one folder for each class"),
        ("corruptions", "defocus", "radius in tile heights"),
    ],
)
def test_what_an_experiment_can_name_is_listed_and_described(kind: str, name: str, about: str, cli: Command) -> None:
    (line,) = (line for line in cli("list", kind).out.splitlines() if line.split()[:1] == [name])
    assert about in line
    assert about in json.loads(cli("list", kind, "--json").out)[name]
    described = cli("describe", name)
    assert described.code == 0
    assert described.out.startswith(name)
    settings = json.loads(cli("describe", name, "--json").out)["settings"]
    assert all(setting["description"] for setting in settings)


def test_a_radius_is_described_as_a_fraction(cli: Command) -> None:
    settings = {each["name"]: each["default"] for each in json.loads(cli("describe", "pgd", "--json").out)["settings"]}
    assert (settings["eps"], settings["max_iterations"], settings["target"]) == ("8/255", "40", "none")


def test_settings_are_described_with_type_and_range(cli: Command) -> None:
    settings = {each["name"]: each for each in json.loads(cli("describe", "pgd", "--json").out)["settings"]}
    assert (settings["eps"]["type"], settings["eps"]["range"]) == ("number or fraction", "> 0")
    assert (settings["max_iterations"]["type"], settings["max_iterations"]["range"]) == ("integer", ">= 1")
    assert settings["target"]["type"] == "runner_up, random or none"


@pytest.mark.parametrize("columns", [40, 120])
def test_settings_fit_the_terminal(columns: int, cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = cli("describe", "trades").out
    assert max(map(len, text.splitlines())) <= columns
    assert "early_stopping" in text


def test_runs_are_listed_with_their_state(cli: Command, store: Store) -> None:
    assert cli("list", "runs").out.splitlines()[0].split() == ["hand", "done"]


def test_an_unknown_name_is_answered_with_near_ones(cli: Command) -> None:
    done = cli("describe", "resnet19")
    assert done.code == 2
    assert "did you mean 'resnet18'" in done.err
    done = cli("list", "networks")
    assert done.code == 2
    assert "networks: expected one of attacks, defenses, models, data, corruptions, runs" in done.err
    assert cli("list", "backbones").out == cli("list", "models").out, "the former name"


def test_data_sets_are_listed_in_plain_words(cli: Command) -> None:
    text = cli("data", "list").out
    assert "Settings of" not in text
    assert "LC25000, lung and colon tissue" in text
    (lc25000,) = (row for row in json.loads(cli("data", "list", "--json").out) if row["name"] == "lc25000")
    assert lc25000["fetch"] == "no"


def test_a_data_set_that_no_program_may_download_is_an_error(cli: Command) -> None:
    done = cli("data", "fetch", "lc25000")
    assert done.code == 2
    assert "nothing was downloaded" in done.err
    assert "torrent" in done.err


@pytest.mark.parametrize("command", ["results", "report", "status"])
def test_an_unknown_run_has_the_status_of_any_unknown_name(command: str, cli: Command) -> None:
    assert cli(command, "demo").code == 2


def test_a_missing_folder_is_the_same_error_in_every_command(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT.replace("synthetic}", "folder, path: nowhere}"))
    for arguments in (("validate", "tiny.yaml"), ("audit", "nowhere")):
        done = cli(*arguments)
        assert done.code == 2
        assert "nowhere: not found" in done.err
        assert "1 error" in done.err


@pytest.mark.parametrize("command", [["results", "x"], ["report", "x"], ["compare", "x", "y"], ["index"]])
def test_a_location_without_its_second_slash_is_refused(command: list[str], cli: Command, tmp_path: Path) -> None:
    done = cli(*command, "--storage", "s3:/oops")
    assert done.code == 2
    assert "'s3:/oops' is no place for a store: expected s3://..." in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_counts_the_cells_and_computes_none(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT)
    done = cli("run", "tiny.yaml", "--dry-run")
    assert done.code == 0
    assert "tiny: 1 model, 1 attack, 0 defenses: " in done.out
    assert done.out.splitlines()[-1] == cli("plan", "tiny.yaml").out.splitlines()[-1]
    assert not (tmp_path / "results" / "artifacts").exists()


@pytest.mark.parametrize(
    ("options", "detail", "force"),
    [([], "normal", False), (["-q", "--force"], "quiet", True), (["-v"], "verbose", False)],
)
def test_the_options_of_a_run(
    options: list[str], detail: str, force: bool, cli: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT)
    seen = {}
    monkeypatch.setattr(pipeline, "run_experiment", lambda experiment, **given: seen.update(given))
    assert cli("run", "tiny.yaml", *options).code == 0
    assert (seen["detail"], seen["force"]) == (detail, force)


def test_quiet_and_verbose_exclude_each_other(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT)
    done = cli("run", "tiny.yaml", "-q", "-v")
    assert done.code == 2
    assert "--quiet and --verbose" in done.err


def test_a_plan_and_a_validation_are_given_as_json(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT)
    cells = json.loads(cli("plan", "tiny.yaml", "--json").out)
    assert {cell["stage"] for cell in cells} >= {"ingest", "train", "attack", "evaluate"}
    assert not any(cell["done"] for cell in cells)
    valid = json.loads(cli("validate", "tiny.yaml", "--json").out)
    assert (valid["name"], valid["cells"]) == ("tiny", len(cells))


def test_the_report_opens_in_a_browser(cli: Command, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("raypipe.report.page.report.write_report", lambda *_: f"{store.root}/runs/hand/report.html")
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(opened.append(address)) or True)
    assert cli("report", "hand", "--open").code == 0
    assert opened == [f"file://{store.root}/runs/hand/report.html"]
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    done = cli("report", "hand", "--open")
    assert done.code == 2
    assert "no browser can be started here; open " in done.err


def test_one_table_of_a_run_is_printed_by_its_name(cli: Command, store: Store) -> None:
    assert cli("results", "hand", "--table", "attacks").out.startswith("Accuracy of every model under every attack")
    done = cli("results", "hand", "--table", "atacks")
    assert done.code == 2
    assert "did you mean 'attacks'" in done.err


def test_a_comparison_fits_a_screen_and_breaks_no_name(
    cli: Command, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = hand_run(store)
    changed = run.model_copy(update={"name": "other"})
    write_run(store, changed)
    store.write_bytes("runs/other/experiment.yaml", b"name: other\n")
    monkeypatch.setattr("raypipe.report.page.compare.write_comparison", lambda *_: "page.html")
    lines = cli("compare", "hand", "other").out.splitlines()
    assert len(lines) <= 40
    assert [line.split()[:2] for line in lines if line.startswith("net ")] == [["net", "hand"], ["net", "other"]]
    assert any("differences have an interval that excludes 0" in line for line in lines)
    rows = json.loads(cli("compare", "hand", "other", "--json").out)
    assert {row["run"] for row in rows} == {"other"}
