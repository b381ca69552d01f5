"""Two processes that train together: the first measures, and weights in pieces are refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import gradprism
from gradprism import GradPrismError, SpectraCallback
from tests.conftest import ROOT
from tests.training.tiny_training import trainer_of

pytestmark = pytest.mark.slow  # two processes that each load torch, transformers and a model


def train(*given: str) -> subprocess.CompletedProcess[str]:
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run(
        [*launched, "-m", "tests.training.several_processes", *given],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
    )  # fmt: skip


@pytest.mark.exhaustive  # 40 s of starting processes; the refusals around it are tested in one
def test_ddp_trains_as_without_and_the_first_process_measures(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = train(str(tiny_checkpoint), str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("FOUND")).partition(" ")[2])
    assert len(found["without"]) == 4
    assert found["rows"] == found["live"] == found["without"]
    assert list(gradprism.open_steps(tmp_path / "rows").runs) == [0, 2, 3]
    assert list(gradprism.open_steps(tmp_path / "live").runs) == [0, 2]


def test_weights_in_pieces_are_refused(make_model: Any, tokenizer: Any, sample_rows: Any, tmp_path: Path) -> None:
    from torch.distributed.fsdp import fully_shard

    trainer = trainer_of(make_model("llama"), tokenizer, sample_rows, tmp_path, [SpectraCallback(live=True)])
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        fully_shard(trainer.model, mesh=torch.distributed.init_device_mesh("cpu", (1,)))
        with pytest.raises(GradPrismError, match="leaves each process with a piece of every weight"):
            trainer.train()
    finally:
        torch.distributed.destroy_process_group()
