"""What a command says of an error that is nobody's mistake but ours."""

import os
import shlex
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import probvae
from probvae.cli import report, train
from probvae.cli.command import Command


def raising(error):
    def callback():
        raise error

    return Command("probvae-test", callback=callback)


def test_a_bug_keeps_its_traceback_and_says_what_to_report(monkeypatch):
    def broken(runs):
        raise UnforeseenError("never\nforeseen")

    monkeypatch.setattr("probvae.runs.reports.page.write_report", broken)
    result = CliRunner().invoke(report.main, ["my run"])
    *above, last = result.stderr.splitlines()
    assert result.exit_code == 1
    assert above[0].startswith("Traceback") and any("never" in line for line in above)
    assert "bug of probvae" in last and last.endswith("the command: probvae-report 'my run'")
    assert f"probvae {probvae.__version__}, tensorflow 2." in last
    assert "probvae/runs/reports/page.py:" in last and "CONTRIBUTING.md" in last


class UnforeseenError(RuntimeError):
    """No error that a command knows."""


def test_a_bug_while_options_are_read(monkeypatch):
    monkeypatch.setattr(train.main, "make_context", raising(KeyError("x")).callback)
    result = CliRunner().invoke(train.main, ["--epochs", "1"])
    assert result.exit_code == 1 and result.stderr.splitlines()[-1].endswith("probvae-train --epochs 1")


@pytest.mark.parametrize(
    "error",
    [
        probvae.InputError("No."),
        PermissionError(13, "Permission denied"),
        MemoryError(),
        OverflowError("Far."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_mistake_of_the_user_is_no_bug(error):
    result = CliRunner().invoke(raising(error), [])
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert "Traceback" not in result.stderr and "bug" not in result.stderr


def test_a_reader_who_goes_away_and_ctrl_c_are_no_bugs():
    assert "bug" not in CliRunner().invoke(raising(BrokenPipeError(32, "Broken pipe")), []).stderr
    result = CliRunner().invoke(raising(KeyboardInterrupt()), [])
    assert result.exit_code == 1 and "bug" not in result.stderr and "Traceback" not in result.stderr


def test_click_errors_pass_where_click_shall_not_end_the_process():
    with pytest.raises(click.ClickException, match="No"):
        raising(probvae.InputError("No.")).main([], standalone_mode=False)


def test_the_line_is_the_last_of_a_real_process(tmp_path):
    code = (
        "import sys; sys.argv = ['x', '/a\\n/b']\n"
        "import probvae.runs.reports.page as page\n"
        "page.report = None\n"
        "from probvae.cli.report import main; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=os.environ
    )
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and "TypeError" in lines[-2]
    assert shlex.split(lines[-1])[-1] == "/a /b"
