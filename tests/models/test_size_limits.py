"""Configurations of more than the weights or the memory hold: refused before anything is allocated."""

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.conftest import SAMPLE
from tests.damaged_checkpoints import copied, with_settings

from gradprism import GradPrismError
from gradprism.models import size_limits
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment


def load(folder: Path, **settings: Any) -> Any:
    return find_checkpoint(CheckpointSettings(model=str(folder), **settings)).load_model()


def peak() -> int:
    """Most memory that this process has taken, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


LARGE = {
    "words": {"vocab_size": 2**40},
    "more words than memory": {"vocab_size": 2**30},
    "width": {"hidden_size": 2**40},
    "inner width": {"intermediate_size": 2**40},
    "heads": {"head_dim": 2**40},
}


@pytest.mark.parametrize("case", LARGE)
@pytest.mark.parametrize("from_scratch", [False, True], ids=["weights", "from scratch"])
def test_larger_than_there_is(from_scratch: bool, case: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = copied(tiny_checkpoint, tmp_path / "model", with_settings(**LARGE[case]))
    before, begun = peak(), time.monotonic()
    said = (
        r"more parameters than .* GiB of memory" if from_scratch else r"far more parameters than its weights \(69,408"
    )
    with pytest.raises(GradPrismError, match=said):
        load(folder, from_scratch=from_scratch)
    assert peak() - before < 200
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("from_scratch", [False, True], ids=["weights", "from scratch"])
def test_more_layers_than_there_are(
    from_scratch: bool, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the memory at once; where that would hold them, by the number of tensors, or by few layers like them."""
    folder = copied(tiny_checkpoint, tmp_path / "model", with_settings(num_hidden_layers=10**9))
    with pytest.raises(GradPrismError, match=r"num_hidden_layers: 1,000,000,000\. So many layers do not fit"):
        load(folder, from_scratch=from_scratch)
    with_settings(num_hidden_layers=10**6)(folder)
    monkeypatch.setattr("gradprism.models.checkpoints.available_memory", lambda: 33 * 10**9)
    said = r"comes to more parameters than 30\.7 GiB" if from_scratch else r"says 1,000,000 layers, .* are 39 tensors"
    with pytest.raises(GradPrismError, match=said):
        load(folder, from_scratch=from_scratch)


def test_layers_of_a_family_that_lists_them(make_model: Any, tmp_path: Path) -> None:
    make_model("gemma3").save_pretrained(tmp_path / "whole")
    folder = copied(tmp_path / "whole", tmp_path / "model", with_settings(num_hidden_layers=10**9, layer_types=None))
    with pytest.raises(GradPrismError, match="So many layers"):
        find_checkpoint(CheckpointSettings(model=str(folder))).load_config()


def test_random_weights_of_many_small_layers_are_made(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = copied(tiny_checkpoint, tmp_path / "model", with_settings(num_hidden_layers=70))
    assert len(load(folder, from_scratch=True).model.layers) == 70


def test_memory_is_that_of_the_machine_or_its_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_limits, "_CGROUP_LIMIT", tmp_path / "memory.max")
    assert 0 < size_limits.available_memory() <= psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("max\n")
    assert size_limits.available_memory() > 1 << 20
    (tmp_path / "memory.max").write_text("1048576\n")
    assert size_limits.available_memory() == 1 << 20


@pytest.mark.exhaustive  # two processes of their own
def test_the_command_takes_no_more_memory_than_without_the_damage(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = copied(tiny_checkpoint, tmp_path / "model", with_settings(vocab_size=2**28))
    code = (
        "import resource, sys\nfrom gradprism.cli import main\n"
        "try:\n    main(sys.argv[1:])\nfinally:\n"
        "    print('MIB', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)"
    )

    def measured(model: Path, status: int) -> int:
        words = ["spectra", SAMPLE, "--model", model, "--out", tmp_path / f"run-{status}", "--limit", "1"]
        command = [sys.executable, "-c", code, *map(str, words), "--max-length", "60"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        return int(done.stdout.rpartition("MIB")[2])

    assert measured(folder, 2) < measured(tiny_checkpoint, 0) + 200
