"""An ablation on workers of a Ray cluster comes to what it does in one process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

import gradprism
from tests.ablation.made_ablations import rows, write
from tests.engine.ray_clusters import own_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    pytest.mark.exhaustive,
]  # two trainings a worker, each from torch on


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with own_cluster():
        yield


def test_two_workers_come_to_what_one_process_does(tiny_checkpoint: Path, tmp_path: Path) -> None:
    pool, evaluation = write(tmp_path / "pool.jsonl", rows(40, 0)), write(tmp_path / "eval.jsonl", rows(8, 9))
    found = [
        gradprism.ablate(
            pool, str(tiny_checkpoint), arms="longest,shortest", evals={"held": str(evaluation)}, tokens=500,
            step_tokens=100, seeds=2, learning_rate=3e-3, device="cpu", out=tmp_path / name, **engine,
        )
        for name, engine in (("local", {}), ("ray", {"engine": "ray", "workers": 2, "cpus_per_worker": 1}))
    ]  # fmt: skip
    local, ray = found
    assert not ray.problems
    assert_frame_equal(local.rows, ray.rows)
    assert_frame_equal(local.losses, ray.losses, abs_tol=0, rel_tol=1e-4)
    assert_frame_equal(local.effects, ray.effects, abs_tol=1e-4, rel_tol=1e-3)
