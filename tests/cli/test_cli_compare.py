"""The commands that compare, correlate, draw and report, as a user types them, on runs of given numbers."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.command import run
from tests.made_groups import given_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name, shift in (("high", 1.2), ("low", 1.0)):
        values = random.lognormal(shift, 0.2, (12, 2, 4))
        given_run(tmp_path / name, values, range(20, 32), quality=[float(i % 5) for i in range(12)])
    given_run(tmp_path / "other", random.lognormal(1, 0.2, (8, 2, 6)), range(20, 28), model="other-2b")
    return tmp_path


@pytest.mark.slow  # half a second or more
def test_compare_then_figures_then_report(runs: Path) -> None:
    out = runs / "cmp"
    assert (
        run(
            "compare", f"high={runs / 'high'}", f"low={runs / 'low'}", "--resamples", 199, "--out", out, "-q"
        ).returncode
        == 0
    )
    drawn = run("figures", out, "--formats", "png", "--only", "nuclear-norm,decay")
    assert drawn.returncode == 0, drawn.stderr
    assert {path.name for path in (out / "figures").iterdir()} == {
        "nuclear-norm.png", "nuclear-norm.csv", "decay.png", "decay.csv", "captions.md",
    }  # fmt: skip
    assert "nuclear-norm" in drawn.stdout
    page = run("report", out)
    assert page.returncode == 0, page.stderr
    assert (out / "report.html").is_file()
    page = run("report", out, "--out", runs / "page.html")
    assert page.returncode == 0, page.stderr
    assert f"Report: {runs / 'page.html'}" in page.stdout
    assert "all of 24 examples" in page.stdout
    assert (runs / "page.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")


@pytest.mark.slow  # all figures of three runs
@pytest.mark.exhaustive  # 15 s
def test_runs_themselves_are_compared_where_they_share_a_model(runs: Path) -> None:
    drawn = run("figures", runs / "high", runs / "low", runs / "other", "--out", runs / "f", "--formats", "svg", "-q")
    assert drawn.returncode == 0, drawn.stderr
    names = {path.stem for path in (runs / "f").glob("*.svg")}
    assert "depth" in names
    assert any(name.startswith("effect-heatmap-high-low") for name in names)
    page = run("report", runs / "high", "--out", runs / "one.html", "--no-texts")
    assert page.returncode == 0, page.stderr


def test_correlate_prints_writes_and_speaks_json(runs: Path) -> None:
    shown = run("correlate", runs / "high", "--out", runs / "correlated")
    assert shown.returncode == 0, shown.stderr
    assert "Rank correlation" in shown.stdout
    assert "column:quality" in shown.stdout
    assert (runs / "correlated" / "matrix_partial.csv").is_file()
    pairs = json.loads(run("correlate", runs / "high", "--metric", "length,column:quality", "--json").stdout)
    assert [{pair["x"], pair["y"]} for pair in pairs] == [{"length", "column:quality"}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("figures", "RUNS/nowhere", "--out", "RUNS/f"), "is not a run"),
        (("figures", "RUNS/high"), "Expected --out"),
        (("figures", "RUNS", "--out", "RUNS/f"), "neither a comparison nor a run"),
        (("figures", "RUNS/high", "--out", "RUNS/f", "--only", "nuclear-nrm"), "nuclear-norm"),
        (("figures", "RUNS/high", "--out", "RUNS/f", "--formats", "gif"), "png"),
        (("report", "RUNS/high", "--out", "RUNS/high/run.json/page.html"), "page.html"),
        (("report", "RUNS/high", "RUNS/low"), "Expected --out"),
        (("correlate", "RUNS/high", "--metric", "efective_rank:q"), "Did you mean 'effective_rank:q'"),
        (("compare", "RUNS/high", "RUNS/other"), "different models"),
    ],
)
@pytest.mark.slow
def test_what_is_wrong_is_said_in_one_message(runs: Path, words: tuple[str, ...], said: str) -> None:
    done = run(*(word.replace("RUNS", str(runs)) for word in words))
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow  # a process each
@pytest.mark.parametrize(
    "words", [("compare", "--by", "column:quality"), ("correlate",), ("figures", "--out", "f"), ("report",)]
)
def test_without_the_extra_each_command_says_how_to_install_it(runs: Path, words: tuple[str, ...]) -> None:
    script = (
        "import sys\nfor name in ('scipy', 'matplotlib', 'plotly'): sys.modules[name] = None\n"
        "from gradprism.cli import main\nmain(sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, words[0], str(runs / "high"), *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=runs, timeout=120)
    assert done.returncode == 2
    assert done.stderr.endswith("pip install 'gradprism[report]'\n")
    assert "Traceback" not in done.stderr
