"""The table of tokens is one more table of a run: published, checked, resumed and retried like the others."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.command import run as command
from tests.conftest import SAMPLE

import gradprism
from gradprism import GradPrismError, Run
from gradprism.core.progress import NoProgress
from gradprism.measurement.estimate import estimate_spectra
from gradprism.measurement.settings import SpectraRecipe
from gradprism.prism import analyzer as analyzer_module
from gradprism.prism.tables import TOKENS
from gradprism.runs.integrity import check
from gradprism.runs.layout import part_path

pytestmark = pytest.mark.slow  # measures runs several times over

OPTIONS = {"limit": 5, "part_rows": 2, "max_length": 200}
Measure = Callable[..., Run]


@pytest.fixture(scope="module")
def whole(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return gradprism.spectra(
        SAMPLE, tiny_checkpoint, out=tmp_path_factory.mktemp("whole") / "run", tokens=True, **OPTIONS
    )


@pytest.fixture
def copy(whole: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.path, tmp_path / "run"))


@pytest.fixture
def again(copy: Path, tiny_checkpoint: Path) -> Measure:
    return lambda **options: gradprism.spectra(
        SAMPLE, tiny_checkpoint, out=copy, **{"tokens": True, **OPTIONS, **options}
    )


def assert_same_tokens(found: Run, expected: Run) -> None:
    assert_frame_equal(found.tokens.sort("row"), expected.tokens.sort("row"), rel_tol=1e-4, abs_tol=1e-6)


def test_the_files_hold_the_public_format_and_any_reader_gets_it(whole: Run) -> None:
    import pyarrow.parquet as pq

    assert sorted(path.name for path in (whole.path / "tokens").iterdir()) == [
        f"part-0000{i}.parquet" for i in range(3)
    ]
    assert whole.scan("tokens").collect_schema() == TOKENS
    assert whole.has_tokens
    assert whole.tokens["row"].to_list() == [0, 1, 2, 3, 4]
    table = pq.read_table(part_path(whole.path, "tokens", 0))
    assert [str(table.schema.field(name).type.value_type) for name in ("pieces", "loss")] == ["large_string", "float"]
    assert len(whole.to_pandas("tokens")) == 5


def test_sizes_by_projection_are_one_query_away(whole: Run) -> None:
    by_projection = (
        whole.scan("tokens").select("row", "projections").explode("projections").unnest("projections").collect()
    )
    assert by_projection["projection"].unique(maintain_order=True).to_list() == ["q", "k", "v", "o"]
    sums = by_projection.group_by("row", maintain_order=True).agg(pl.col("gradient_size").list.sum().sum())
    assert sums["gradient_size"].to_list() == pytest.approx(
        whole.tokens["gradient_size"].list.sum().to_list(), rel=1e-5
    )


def test_a_run_without_says_how_to_get_them(tiny_checkpoint: Path, tmp_path: Path) -> None:
    made = gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "run", limit=1, max_length=48)
    assert not made.has_tokens
    assert not (tmp_path / "run" / "tokens").exists()
    with pytest.raises(GradPrismError, match=r"--tokens, which stores them"):
        made.scan("tokens")


def test_runs_of_earlier_versions_resume_and_a_run_is_never_made_of_two_kinds(again: Measure) -> None:
    def identity(**options: Any) -> dict[str, Any]:
        return SpectraRecipe.from_options(("a",), "out", model="m", **options).identity()

    assert "prism.tokens" not in identity()
    assert identity(tokens=True)["prism.tokens"] is True
    with pytest.raises(GradPrismError, match=r"--tokens \(now --no-tokens\)"):
        again(tokens=False)


@pytest.mark.parametrize("damage", ["missing", "cut", "of another table", "rows dropped"])
def test_a_damaged_part_is_named_and_made_again(damage: str, copy: Path, whole: Run, again: Measure) -> None:
    file = part_path(copy, "tokens", 1)
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(content[:-9])
    elif damage == "of another table":
        shutil.copy(part_path(copy, "spectra", 1), file)
    else:
        pl.read_parquet(file).head(1).write_parquet(file)
    assert [fault.file for fault in check(copy).faults] == [file]
    with pytest.raises(GradPrismError, match="tokens/part-00001"):
        gradprism.open_run(copy).tokens  # noqa: B018
    made = again()
    assert check(copy).is_whole
    assert made.record["sessions"][-1]["examples"] == 2
    assert_same_tokens(made, whole)


def test_tokens_without_their_examples_are_of_a_part_that_was_cut_off(copy: Path, whole: Run, again: Measure) -> None:
    part_path(copy, "examples", 2).unlink()
    assert gradprism.open_run(copy).tokens["row"].to_list() == [0, 1, 2, 3]
    assert_same_tokens(again(), whole)


def test_rows_that_failed_get_theirs_when_they_are_retried(
    whole: Run, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = analyzer_module.measure_batch

    def broken(head: Any, projections: Any, encoded: Any, *rest: Any) -> Any:
        if max(example.n_tokens for example in encoded) > 190:
            raise RuntimeError("no kernel for this length")
        return real(head, projections, encoded, *rest)

    def measured(**options: Any) -> Run:
        return gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "run", tokens=True, **OPTIONS, **options)

    with monkeypatch.context() as patch:
        patch.setattr(analyzer_module, "measure_batch", broken)
        first = measured()
    assert 0 < first.counts.failed < 5
    assert first.tokens.height == first.counts.ok
    assert_same_tokens(measured(retry_failed=True), whole)


def test_a_run_is_extended_with_the_tokens_of_the_new_rows(whole: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    for limit in (3, 5):
        options = {**OPTIONS, "limit": limit}
        made = gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "run", tokens=True, **options)
    assert_same_tokens(made, whole)
    assert check(made.path).is_whole


def test_the_estimate_counts_them(tiny_checkpoint: Path, tmp_path: Path) -> None:
    def estimated(tokens: bool) -> Any:
        given = {"model": str(tiny_checkpoint), "tokens": tokens, **OPTIONS}
        return estimate_spectra(
            SpectraRecipe.from_options((str(SAMPLE),), str(tmp_path / "run"), **given), NoProgress()
        )

    found = estimated(True)
    assert found.bytes - estimated(False).bytes == pytest.approx(34 * found.tokens, abs=1)


@pytest.mark.slow  # starts the command twice
def test_the_command_and_its_recipe(tiny_checkpoint: Path, tmp_path: Path) -> None:
    options = ["--limit", 3, "--max-length", 100, "--tokens", "-q"]
    assert command("spectra", SAMPLE, "--model", tiny_checkpoint, "--out", tmp_path / "run", *options).returncode == 0
    assert command("run", tmp_path / "run" / "recipe.yaml", "--out", tmp_path / "again", "-q").returncode == 0
    assert_same_tokens(gradprism.open_run(tmp_path / "again"), gradprism.open_run(tmp_path / "run"))
    assert command("check", tmp_path / "run").returncode == 0
