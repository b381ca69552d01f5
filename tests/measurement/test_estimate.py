"""A dry run of spectra: its counts are those of the run, its time is measured, and it writes nothing."""

import json
from pathlib import Path

import pytest
from tests.command import run
from tests.conftest import SAMPLE

import gradprism
from gradprism.core.progress import NoProgress
from gradprism.measurement import estimate as estimate_module
from gradprism.measurement.estimate import Estimate, estimate_spectra
from gradprism.measurement.settings import SpectraRecipe
from gradprism.models import size_limits

pytestmark = pytest.mark.slow  # measures for the seconds that an estimate takes


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "SECONDS", 0.05)


def estimated(checkpoint: Path, out: Path, **options: object) -> Estimate:
    recipe = SpectraRecipe.from_options((str(SAMPLE),), str(out), model=str(checkpoint), max_length=90, **options)
    return estimate_spectra(recipe, NoProgress())


def test_counts_are_those_of_the_run(tiny_checkpoint: Path, tmp_path: Path) -> None:
    found = estimated(tiny_checkpoint, tmp_path / "run", limit=11, part_rows=4)
    assert not (tmp_path / "run").exists()
    made = gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "run", limit=11, part_rows=4, max_length=90)
    counts = made.counts
    assert (found.rows, found.rows_done, found.rows_skipped) == (11, 0, counts.skipped)
    assert (found.tokens, found.response_tokens) == (counts.tokens, counts.response_tokens)
    assert (found.layers, found.projections, found.parts) == (4, 4, 3)
    real = made.singular_values["singular_values"].list.len().mean()  # short of the bound where few tokens have a loss
    assert real <= found.spectrum_length <= 1.1 * real
    assert found.pace is not None
    assert found.seconds == pytest.approx(found.tokens * found.pace.seconds / found.pace.tokens)
    assert not found.is_sampled


def test_rows_that_the_run_holds_are_left_out(tiny_checkpoint: Path, tmp_path: Path) -> None:
    made = gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "run", limit=4, part_rows=4, max_length=90)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    found = estimated(tiny_checkpoint, tmp_path / "run", limit=11, part_rows=4)
    whole = estimated(tiny_checkpoint, tmp_path / "other", limit=11, part_rows=4)
    assert (found.rows_done, found.parts) == (4, 2)
    assert whole.tokens - found.tokens == made.counts.tokens
    done = estimated(tiny_checkpoint, tmp_path / "run", limit=4, part_rows=4)
    assert (done.tokens, done.bytes, done.pace, done.not_measured) == (0, 0, None, "no row is left to measure")
    longer = estimated(tiny_checkpoint, tmp_path / "run", limit=5, part_rows=4)
    assert (longer.rows_done, longer.parts) == (4, 1)
    with pytest.raises(gradprism.GradPrismError, match=r"--projections q,k,v,o \(now q\)"):
        estimated(tiny_checkpoint, tmp_path / "run", limit=11, part_rows=4, projections="q")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_a_sample_stands_for_many_rows(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = estimated(tiny_checkpoint, tmp_path / "run")
    monkeypatch.setattr(estimate_module, "MOST_ROWS", 36)
    found = estimated(tiny_checkpoint, tmp_path / "run")
    assert (found.rows, found.rows_tokenised, found.is_sampled) == (72, 36, True)
    assert found.tokens == pytest.approx(whole.tokens, rel=0.2)
    assert found.bytes == pytest.approx(whole.bytes, rel=0.2)


def test_weights_that_do_not_fit_are_not_loaded(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size_limits, "available_memory", lambda: 1000)
    found = estimated(tiny_checkpoint, tmp_path / "run", limit=5)
    assert found.pace is None
    assert found.seconds > 0
    assert "do not fit the 0.0 GiB free on cpu" in found.not_measured


def test_the_command_prints_it_on_eighty_columns(tiny_checkpoint: Path, tmp_path: Path) -> None:
    words = ["spectra", SAMPLE, "-m", tiny_checkpoint, "-o", tmp_path / "run", "-n", 6, "--max-length", 90, "--dry-run"]
    done = run(*words, "--projections", "q,v", "--no-spectrum")
    assert done.returncode == 0, done.stderr
    for text in ("nothing is written", "all rows tokenised", "tokens a second", "x 4 layers x 2 projections, no sing",
                 "GPU hours"):  # fmt: skip
        assert text in " ".join(done.stdout.split())
    assert json.loads(run(*words, "--json").stdout)["rows"] == 6
    assert not (tmp_path / "run").exists()
