"""Habits of command lines: -q, -v and --json everywhere, pipes, narrow terminals, completion, one meaning a flag."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from raypipe.cli.app import app
from raypipe.cli.options import names_within
from raypipe.cli.terminal import UNBROKEN
from raypipe.evaluation.results.compute import compute_result
from raypipe.report import fitting_table
from raypipe.storage.store import Store
from tests.cli.conftest import Command
from tests.evaluation.handmade import hand_run

BIN = Path(sys.executable).parent
EXPERIMENT = "{name: tiny, data: {source: synthetic}, models: [resnet18], attacks: [deepfool, pgd]}"


def commands(command: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(command, TyperGroup):
        for name, each in command.commands.items():
            yield from commands(each, *names, name)
    else:
        yield names, command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store.open(str(tmp_path_factory.mktemp("finished") / "results"))
    compute_result(store, hand_run(store))
    return Path(store.root)


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Store:
    shutil.copytree(finished, tmp_path / "results")
    return Store.open(str(tmp_path / "results"))


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_every_command_has_the_usual_options(names: tuple[str, ...]) -> None:
    options = {option for param in COMMANDS[names].params for option in param.opts}
    assert options >= {"--quiet", "-q", "--verbose", "-v", "--json"}


MEANINGS = {
    "--all": r"Print everything, and not the summary alone\.",
    "--force": r"Replace what exists: .*\.",
    "--out": r"(Folder|File) to write to: .*\.",
    "--storage": r"Store of runs and results: a folder, or a URI such as s3://bucket/path\.",
    "--groups": r"CSV with the columns filename, label and group\.",
    "--set": r"Set a field by its name in an experiment file, .*\.",
    "--json": r"Print JSON for other programs\.",
}


@pytest.mark.parametrize("option", MEANINGS)
def test_an_option_of_several_commands_is_described_in_the_same_words(option: str) -> None:
    params = [param for command in COMMANDS.values() for param in command.params]
    texts = [param.help for param in params if option in param.opts and not param.hidden]
    assert len(texts) > 2
    assert all(re.fullmatch(MEANINGS[option], text) for text in texts), texts


def test_a_command_that_has_nothing_to_keep_ends_by_ctrl_c_with_its_status(
    cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("raypipe.data.audit.audit.open_data", interrupted)
    ended = cli("audit", "tiles")
    assert (ended.code, ended.out, ended.err) == (130, "", "Stopped by SIGINT.\n")


def test_a_download_of_everything_has_a_name_of_its_own(cli: Command) -> None:
    ended = cli("data", "fetch", "lc25000", "--all")
    assert ended.code == 2
    assert "--all is --whole here" in ended.err


def test_a_flag_has_one_meaning() -> None:
    """The default may differ, and `--out` and `--force` name what a command writes."""
    meanings: dict[str, set[str]] = defaultdict(set)
    for command in COMMANDS.values():
        for param in command.params:
            meanings[param.opts[0]].add(str(param.help))
    for option in ("--set", "--storage", "--groups", "--json", "--quiet", "--device", "--delete", "--labels"):
        assert len(meanings[option]) <= 1, meanings[option]


@pytest.mark.parametrize("place", ["before", "after", "between"])
def test_an_option_may_stand_before_the_command(place: str, cli: Command, store: Store) -> None:
    option, group, command = ["--quiet"], ["store"], ["size"]
    words = {"before": option + group + command, "between": group + option + command, "after": group + command + option}
    (line,) = cli(*words[place]).out.splitlines()
    assert line.startswith(f"{store.root}: ")
    assert len(cli("store", "size").out.splitlines()) > 5, "the option of an earlier command is forgotten"


def test_quiet_lists_are_names_alone(cli: Command, store: Store) -> None:
    assert cli("list", "runs", "-q").out == "hand\n"
    assert "pgd" in cli("-q", "list", "attacks").out.splitlines()
    assert "lc25000" in cli("data", "list", "-q").out.splitlines()
    assert "eps" in cli("describe", "pgd", "-q").out.splitlines()


def test_quiet_results_are_their_place(cli: Command, store: Store) -> None:
    assert cli("results", "hand", "-q").out == f"Results: {store.root}/runs/hand\n"
    (place,) = cli("report", "hand", "-q").out.splitlines()
    assert place.startswith("Report: ")


def test_a_verbose_error_has_its_traceback(cli: Command) -> None:
    plain, verbose = cli("results", "x"), cli("results", "x", "-v")
    assert plain.code == verbose.code == 2
    assert "Traceback" not in plain.err
    assert "Traceback" in verbose.err
    assert verbose.err.endswith(plain.err)


def test_verbose_results_are_all_tables(cli: Command, store: Store) -> None:
    assert cli("results", "hand", "-v").out == cli("results", "hand", "--all").out


def test_every_result_is_given_as_json(cli: Command, store: Store, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT)
    assert json.loads(cli("run", "tiny.yaml", "--dry-run", "--json").out) == json.loads(
        cli("plan", "tiny.yaml", "--json").out
    )
    assert json.loads(cli("report", "hand", "--json").out)["report"] == f"{store.root}/runs/hand/report.html"
    assert json.loads(cli("index", "--json").out)["index"] == f"{store.root}/index.html"
    rows = json.loads(cli("results", "hand", "--table", "attacks", "--json").out)
    assert any(cell.startswith("net") for row in rows for cell in row.values())
    tracked = json.loads(cli("track", "hand", "--to", "tensorboard:logs", "--json").out)
    assert tracked == {"run": "hand", "logged_to": "tensorboard:logs"}


def test_a_field_has_the_same_name_in_every_command() -> None:
    assert names_within("evaluation", ["evaluation.tiles=3", "checks=null"]) == ["tiles=3", "checks=null"]
    assert names_within("attacks.pgd", ["attacks.pgd.eps=1/255"]) == ["eps=1/255"]


def test_nothing_is_broken_in_a_pipe(cli: Command, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert UNBROKEN >= fitting_table.UNBROKEN
    lines = cli("results", "hand", "--table", "robustness").out.splitlines()
    models = [line for line in lines if "net" in line.split()[:1]]
    assert models, lines
    assert all(len(line.split()) > 3 for line in models), "the figures of a model stand in its line"
    helped = cli("run", "--help").out
    assert "Replace what exists: everything is computed again." in helped
    assert "│" not in helped
    assert "\x1b" not in helped + "".join(lines)


@pytest.mark.parametrize(
    "arguments",
    [
        ("results", "hand"), ("results", "hand", "--all"), ("data", "list"),
        ("store", "size"), ("list", "attacks"), ("list", "runs"), ("describe", "pgd"), ("plan", "tiny.yaml"),
        ("plan", "tiny.yaml", "--all"), ("run", "--help"), ("--help",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_narrow_terminals_can_be_read(
    arguments: tuple[str, ...], cli: Command, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No line is longer than the terminal, and no column is so narrow that it shows a letter or two a line."""
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT)
    monkeypatch.setenv("COLUMNS", "40")
    done = cli(*arguments)
    assert done.code == 0, done.err
    places = ("Results:", str(tmp_path)[:20])  # a path is not broken, so that it can be copied
    lines = [line.rstrip() for line in done.out.splitlines() if not any(place in line for place in places)]
    text = [line for line in lines if line.strip()]
    assert max(map(len, text)) <= 40, max(text, key=len)
    assert sum(len(line.strip()) <= 2 for line in text) <= len(text) / 20


def test_a_table_that_does_not_fit_is_a_list(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = cli("data", "list").out.splitlines()
    at = lines.index("lc25000")
    assert lines[at + 1].startswith("  data: LC25000")
    monkeypatch.setenv("COLUMNS", "140")
    assert cli("data", "list").out.splitlines()[1].split() == ["name", "data", "fetch", "license"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--fo"), "No such option: --fo"),
        (("rnu",), "No such command 'rnu'"),
        (("attack",), "Missing argument 'MODEL'"),
        (("plan", "x.yaml", "--workers", "0"), "Invalid value for '--workers'"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(words: tuple[str, ...], message: str, cli: Command) -> None:
    done = cli(*words)
    assert done.code == 2
    (line,) = (line for line in done.err.splitlines() if line.startswith("Error: "))
    assert message in line


def complete(shell: str, line: str, folder: Path) -> str:
    variables = {
        "_RAYPIPE_COMPLETE": f"complete_{shell}", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")),
        "_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    done = subprocess.run(
        [str(BIN / "raypipe")], cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_options_kinds_and_runs(shell: str, store: Store, tmp_path: Path) -> None:
    assert "validate" in complete(shell, "raypipe val", tmp_path)
    assert "--force" in complete(shell, "raypipe run --fo", tmp_path)
    assert "corruptions" in complete(shell, "raypipe list corr", tmp_path)
    assert "hand" in complete(shell, "raypipe results ha", tmp_path)


@pytest.mark.parametrize(
    ("shell", "sign"), [("bash", "complete -o default"), ("zsh", "#compdef raypipe"), ("fish", "--command raypipe")]
)
def test_the_documented_line_defines_the_completion(shell: str, sign: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    assert f"_RAYPIPE_COMPLETE=source_{shell} raypipe" in page
    asked = os.environ | {"_RAYPIPE_COMPLETE": f"source_{shell}"}
    done = subprocess.run([str(BIN / "raypipe")], env=asked, capture_output=True, text=True, check=True)
    assert sign in done.stdout
