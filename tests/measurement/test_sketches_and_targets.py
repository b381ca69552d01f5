"""Sketches, targets and the null's draws in a run: stored, resumed, extended, checked, refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import gradprism
from gradprism import GradPrismError
from gradprism.runs.parts import read_part

ROWS = [{"id": f"r{i}", "prompt": f"Question {i}", "response": f"Answer number {i}. " * (i % 3 + 1)} for i in range(9)]
OPTIONS: dict[str, Any] = {"max_length": 64, "part_rows": 4, "sketch": 64, "null_draws": 2}


def write(path: Path, rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("rows")
    return write(folder / "data.jsonl", ROWS), write(folder / "target.jsonl", ROWS[:3])


@pytest.fixture(scope="module")
def run(tiny_checkpoint: Path, files: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> gradprism.Run:
    data, target = files
    out = tmp_path_factory.mktemp("run") / "run"
    return gradprism.spectra(data, str(tiny_checkpoint), out=out, target={"t": target}, **OPTIONS)


def test_every_row_has_a_sketch_and_an_influence(run: gradprism.Run) -> None:
    sketches = run.sketches
    assert sketches.rows.tolist() == list(range(9))
    assert sketches.values.shape == (9, 64)
    assert not sketches.values.flags.writeable
    norms = run.spectra.group_by("row").agg((pl.col("frobenius_norm") ** 2).sum().sqrt()).sort("row")["frobenius_norm"]
    np.testing.assert_allclose(sketches.norms, norms)
    scores = run.scores("influence:t")
    assert scores["value"].is_between(-1, 1).all()
    assert len(scores["layers"][0]) == run.spectra.filter(row=0).height
    assert run.score_record("influence:t")["complete"] is True
    assert gradprism.metric_values(run, "influence:t.share")["value"].is_between(0, 1).all()
    assert {"relative_effective_rank", "relative_nuclear_norm"} <= {*run.measures}
    assert gradprism.metric_values(run, "relative_effective_rank:q")["value"].is_between(0.2, 2).all()
    assert {"influence:t", "relative_effective_rank:mean"} <= {*run.table().columns}


def test_influence_is_compared_by_differences(run: gradprism.Run) -> None:
    found = gradprism.compare(run, by="influence:t", quantile=0.4, resamples=199)
    row = found.effects.filter(measure="influence:t").row(0, named=True)
    assert found.examples["influence:t"].min() > 0  # a logarithm would be there
    assert row["regression_scale"] == "linear"
    assert row["raw_effect"] == pytest.approx(row["mean_first"] - row["mean_second"])


def test_afterwards_it_is_the_same(run: gradprism.Run, files: tuple[str, str]) -> None:
    again = gradprism.influence(run, {"later": files[1], "one": files[1]}, part_rows=4)
    first, later = again.scores("influence:t"), again.scores("influence:later")
    assert first.columns == later.columns
    assert (first["value"] - later["value"]).abs().max() < 1e-6
    sessions = again.score_record("influence:one")["sessions"]
    assert len(sessions) == 1
    third = gradprism.influence(run, {"later": files[1], "one": files[1]}, part_rows=4)
    assert third.score_record("influence:one")["sessions"] == sessions  # nothing is computed again


def test_a_selection_takes_it(run: gradprism.Run, tmp_path: Path) -> None:
    chosen = gradprism.select(run, by="influence:t", top=3, out=tmp_path / "best.jsonl")
    values = run.scores("influence:t").sort("value", descending=True)
    assert {json.loads(line)["id"] for line in (tmp_path / "best.jsonl").read_text().splitlines()} == {
        ROWS[row]["id"] for row in values["row"][:3]
    }
    assert chosen is not None


def test_lost_and_damaged_parts_are_made_again(
    tiny_checkpoint: Path, files: tuple[str, str], tmp_path: Path, run: gradprism.Run
) -> None:
    data, target = files

    def measure(**more: Any) -> gradprism.Run:
        options = OPTIONS | more
        return gradprism.spectra(data, str(tiny_checkpoint), out=tmp_path / "run", target={"t": target}, **options)

    measure(limit=5)
    (tmp_path / "run" / "scores" / "influence:t" / "part-00000.parquet").write_bytes(b"torn")
    (tmp_path / "run" / "sketches" / "part-00001.parquet").unlink()
    found = measure()
    for table in ("sketches", "scores/influence:t", "spectra"):
        for part in range(3):
            made, expected = (read_part(each.path, table, part) for each in (found, run))
            assert made.drop("layers", strict=False).equals(expected.drop("layers", strict=False))
    assert gradprism.check(found.path).is_whole


def test_another_target_is_another_run(tiny_checkpoint: Path, files: tuple[str, str], run: gradprism.Run) -> None:
    data, _ = files
    with pytest.raises(GradPrismError, match="--target: other rows, another mean or rank, or other targets"):
        gradprism.spectra(data, str(tiny_checkpoint), out=run.path, target={"t": data}, **OPTIONS)
    with pytest.raises(GradPrismError, match=r"--sketch 64 \(now 128\)"):
        gradprism.spectra(data, str(tiny_checkpoint), out=run.path, target={"t": files[1]}, **OPTIONS | {"sketch": 128})
    with pytest.raises(GradPrismError, match="a target of this name"):
        gradprism.influence(run, {"t": data})


def test_a_target_that_cannot_be_used_is_named(
    tiny_checkpoint: Path, files: tuple[str, str], run: gradprism.Run, tmp_path: Path
) -> None:
    empty = write(tmp_path / "empty.jsonl", [{"prompt": "Question", "response": ""}])
    with pytest.raises(GradPrismError, match="Target bad: none of its 1 rows has a gradient"):
        gradprism.influence(run, {"bad": empty})
    with pytest.raises(GradPrismError, match=r"no_such\.jsonl"):
        gradprism.spectra(files[0], str(tiny_checkpoint), out=tmp_path / "run", target="a=no_such.jsonl")
    for wrong in ("no_name.jsonl", "a.b=x.jsonl"):
        with pytest.raises(GradPrismError, match="expected NAME=FILE"):
            gradprism.influence(run, wrong)
    with pytest.raises(GradPrismError, match="two targets have the same name"):
        gradprism.influence(run, ["a=x.jsonl", "a=y.jsonl"])


def test_a_dry_run_refuses_what_the_run_would(
    tiny_checkpoint: Path, files: tuple[str, str], run: gradprism.Run
) -> None:
    from gradprism.core.progress import NoProgress
    from gradprism.measurement.estimate import estimate_spectra
    from gradprism.measurement.settings import SpectraRecipe

    def estimate(target: str) -> int:
        options = OPTIONS | {"model": str(tiny_checkpoint), "target": target}
        return estimate_spectra(SpectraRecipe.from_options((files[0],), str(run.path), **options), NoProgress()).rows

    assert estimate(f"t={files[1]}") == len(ROWS)
    with pytest.raises(GradPrismError, match=r"no_such\.jsonl"):
        estimate("t=no_such.jsonl")
    with pytest.raises(GradPrismError, match="--target: other rows"):
        estimate(f"t={files[0]}")


def test_another_model_is_refused(run: gradprism.Run, files: tuple[str, str], make_model: Any, tokenizer: Any) -> None:
    with pytest.raises(GradPrismError, match="other weights"):
        gradprism.influence(run, {"other": files[1]}, model=make_model("llama", seed=9), tokenizer=tokenizer)


def test_a_run_without_them_says_how_to_measure_them(
    tiny_checkpoint: Path, files: tuple[str, str], tmp_path: Path
) -> None:
    plain = gradprism.spectra(files[0], str(tiny_checkpoint), out=tmp_path / "run", max_length=64, limit=2)
    with pytest.raises(GradPrismError, match="Measure it with --sketch 4096"):
        plain.sketches  # noqa: B018
    assert "relative_effective_rank" not in plain.measures
    assert "null_effective_rank" not in plain.spectra.columns
    with pytest.raises(GradPrismError, match="--null-draws"):
        gradprism.metric_values(plain, "relative_effective_rank")
