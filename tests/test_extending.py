"""A package of one's own, as docs/extending.md shows it: installed from a folder, and taken through every verb."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import gradprism
from gradprism.core.errors import GradPrismError
from gradprism.metrics.registry import known_metrics
from gradprism.metrics.titles import title, titles
from gradprism.prism.measures import Measure, known_measures
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
ROWS = [
    {"id": f"r{i}", "prompt": f"say {i}", "response": " ".join(["word", "and", "more", "of", "it"][: 1 + i % 5] * 2)}
    for i in range(16)
]
CACHES = (known_metrics, known_measures, titles)


def package_of_the_page(folder: Path) -> Path:
    """Write each block of the page that names its file in its first line."""
    folder.mkdir()
    for block in re.findall(r"```(?:python|toml)\n(.*?)```", PAGE, re.DOTALL):
        name = block.partition("\n")[0].removeprefix("# ")
        (folder / name).write_text(block, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed the package."""
    folder, target = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("site")
    source = package_of_the_page(folder / "type-token-ratio")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--target", target]
    done = subprocess.run([*map(str, pip), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(site)
    for cache in CACHES:
        cache.cache_clear()
    yield
    for name in ("type_token_ratio", "entropy_share"):
        sys.modules.pop(name, None)
    monkeypatch.undo()
    for cache in CACHES:
        cache.cache_clear()


def ratio(row: dict[str, str]) -> float:
    words = row["response"].split()
    return len({*words}) / len(words)


@pytest.mark.slow  # a run, a comparison, its figures and its page
def test_it_goes_through_every_verb(installed: None, tiny_checkpoint: Path, tmp_path: Path) -> None:
    run = gradprism.spectra(ROWS, tiny_checkpoint, out=tmp_path / "run", max_length=64)
    shares = run.spectra["entropy_share"].drop_nulls()
    assert len(shares)
    assert shares.is_between(0, 1 + 1e-9).all()
    assert "entropy_share" in run.measures
    run = gradprism.score(ROWS, "type_token_ratio", out=tmp_path / "run", own={"minimum": 3})
    scores = run.scores("type_token_ratio")
    enough = [row for row, words in enumerate(ROWS) if len(words["response"].split()) >= 3]
    assert scores.filter(status="ok")["row"].to_list() == enough
    assert scores.filter(status="ok")["value"].to_list() == pytest.approx([ratio(ROWS[row]) for row in enough])
    assert scores.filter(status="skipped")["reason"].unique().to_list() == ["2 words, fewer than 3"]
    assert scores["n_words"].drop_nulls().to_list() == [len(ROWS[row]["response"].split()) for row in enough]

    value = dict(scores.select("row", "value").iter_rows())
    best = gradprism.select(run, by="type_token_ratio", top="4", data=ROWS, out=tmp_path / "best.jsonl")
    taken = [int(json.loads(line)["id"][1:]) for line in (tmp_path / "best.jsonl").read_text().splitlines()]
    assert sorted(value[row] for row in taken) == sorted(value.values(), key=lambda v: v or -1)[-4:], best

    found = gradprism.compare(run, by="length", out=tmp_path / "compared", resamples=199)
    assert {"type_token_ratio", "entropy_share"} <= {*found.effects["measure"]}
    assert found.measures[-1] == "entropy_share"
    scales = dict(found.effects.select("measure", "regression_scale").iter_rows())
    assert (scales["nuclear_norm"], scales["entropy_share"]) == ("log", "linear")
    assert "entropy_share:mean" in {*gradprism.correlate(run).names}
    assert title("type_token_ratio") == "type-token ratio"
    assert title("entropy_share:q") == "entropy share q_proj"
    assert gradprism.draw_figures(tmp_path / "compared", formats=["png"])
    page = gradprism.write_report(tmp_path / "compared", out=tmp_path / "page.html")
    assert "type-token ratio" in Path(page.path).read_text(encoding="utf-8")


@pytest.mark.slow
def test_its_settings_are_checked(installed: None) -> None:
    for own, problem in (({"minimum": "many"}, "minimum"), ({"maximum": 3}, "maximum")):
        with pytest.raises(GradPrismError, match=problem):
            gradprism.score(ROWS, "type_token_ratio", own=own)
    with pytest.raises(GradPrismError, match="--set minimum: the metric length has no such settings"):
        gradprism.score(ROWS, "length", model="smollm2-135m", own={"minimum": 3})


@pytest.mark.slow
def test_a_run_is_never_made_with_other_measures(
    installed: None, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradprism.spectra(ROWS[:4], tiny_checkpoint, out=tmp_path / "run", part_rows=2)
    (tmp_path / "run/examples/part-00001.parquet").unlink()
    monkeypatch.undo()
    for cache in CACHES:
        cache.cache_clear()
    with pytest.raises(GradPrismError, match=r"measures: entropy_share \(now none\)"):
        gradprism.spectra(ROWS[:4], tiny_checkpoint, out=tmp_path / "run", part_rows=2)


@pytest.mark.parametrize(
    ("value", "problem"),
    [("os:sep", "Expected a class that derives from"), ("nowhere:Metric", "cannot be imported"),
     ("gradprism.metrics.loss:Loss", "a second metric or measure named 'loss'"),
     ("share:Share", "a second metric or measure named 'leading_share'")],
)  # fmt: skip
def test_a_package_that_brings_something_else_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, problem: str
) -> None:
    folder = tmp_path / "other-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(f"[gradprism.metrics]\nodd = {value}\n")
    (tmp_path / "share.py").write_text(
        "from gradprism.metrics.length import Length\n\nclass Share(Length):\n    name = 'leading_share'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    known_metrics.cache_clear()
    try:
        with pytest.raises(GradPrismError, match=problem):
            known_metrics()
    finally:
        monkeypatch.undo()
        known_metrics.cache_clear()


def test_the_metric_of_the_page_is_twenty_lines() -> None:
    block = next(each for each in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "class TypeTokenRatio" in each)
    lines = [line for line in block.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 20


@pytest.mark.parametrize(
    ("function", "problem"),
    [(lambda s: s, r"gave Tensor of shape \(2, 3\) for 2 spectra. Expected a tensor of shape \(2,\)"),
     (lambda s: 1.0, "gave float for 2 spectra")],
)  # fmt: skip
def test_a_measure_that_gives_no_number_for_each_spectrum_is_named(function: Any, problem: str) -> None:
    with pytest.raises(GradPrismError, match=f"The measure odd {problem}"):
        Measure("odd", "odd", function=function).compute(torch.ones(2, 3))


def test_what_is_not_finite_is_no_value() -> None:
    found = Measure("odd", "odd", function=lambda s: 1 / s.amin(-1)).compute(torch.tensor([[2.0, 1.0], [1.0, 0.0]]))
    assert found.tolist()[0] == 1.0
    assert found.isnan().tolist() == [False, True]
