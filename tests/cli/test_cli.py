"""The command: what it prints, what it refuses, and with which words."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.command import run
from tests.conftest import SAMPLE

from gradprism import open_run

ROW = '{"instruction": "Name a colour.", "output": "Blue."}\n'


@pytest.fixture
def spectra(tiny_checkpoint: Path, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """`spectra(data, *options)` into tmp_path/run."""

    def start(
        data: Path | str, *options: Any, model: Path | str = tiny_checkpoint
    ) -> "subprocess.CompletedProcess[str]":
        return run("spectra", data, "--model", model, "--out", tmp_path / "run", *options)

    return start


def refused(done: "subprocess.CompletedProcess[str]", *says: str) -> None:
    """Exit status 2 and the message alone."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for words in says:
        assert words in done.stderr


def written(folder: Path, content: str | bytes, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_no_such_file(spectra: Any) -> None:
    refused(spectra("nowhere.jsonl"), "No such file: nowhere.jsonl")


def test_an_empty_file(spectra: Any, tmp_path: Path) -> None:
    refused(spectra(written(tmp_path, "")), "is empty")


def test_wrong_columns(spectra: Any, tmp_path: Path) -> None:
    refused(spectra(written(tmp_path, '{"title": "a", "body": "b"}\n')), "'title', 'body'", "--columns")


def test_a_truncated_line_in_the_middle_is_one_skipped_row(spectra: Any, tmp_path: Path) -> None:
    done = spectra(written(tmp_path, ROW + ROW[:30] + "\n" + ROW))
    assert done.returncode == 0, done.stderr
    examples = open_run(tmp_path / "run").examples
    assert examples["status"].to_list() == ["ok", "skipped", "ok"]
    assert "line 2 is not valid JSON" in examples["reason"][1]
    assert "line 2 is not valid JSON" in done.stdout


def test_bytes_that_are_not_utf8_are_one_skipped_row(spectra: Any, tmp_path: Path) -> None:
    done = spectra(written(tmp_path, ROW.encode() + ROW.replace("Blue", "Bl\xe9u").encode("latin-1")))
    assert done.returncode == 0, done.stderr
    assert "byte 0xe9" in done.stdout
    assert open_run(tmp_path / "run").counts.skipped == 1


def test_an_empty_response_and_a_long_prompt_are_skipped_rows(spectra: Any, tmp_path: Path) -> None:
    rows = ROW + '{"instruction": "Say nothing.", "output": ""}\n' + ROW.replace("colour", "colour " * 60)
    done = spectra(written(tmp_path, rows), "--max-length", 48)
    assert done.returncode == 0, done.stderr
    reasons = open_run(tmp_path / "run").examples["reason"].to_list()
    assert reasons[0] is None
    assert reasons[1] == "empty response"
    assert "the prompt fills max_length" in reasons[2]
    assert "1 ok, 2 skipped, 0 failed = 3" in done.stdout


def test_a_model_with_a_nan_weight_fails_every_row(
    spectra: Any, make_model: Any, tokenizer: Any, tmp_path: Path
) -> None:
    model = make_model("llama")
    model.model.layers[1].self_attn.o_proj.weight.data[0, 0] = float("nan")
    model.save_pretrained(tmp_path / "nan")
    tokenizer.save_pretrained(tmp_path / "nan")
    done = spectra(written(tmp_path, ROW), model=tmp_path / "nan")
    assert done.returncode == 1
    assert "non-finite loss" in done.stdout
    assert "no row could be measured" in done.stderr
    examples = open_run(tmp_path / "run").examples
    assert examples["status"].to_list() == ["failed"]
    assert examples["loss"].to_list() == [None]


def test_an_output_folder_that_cannot_be_made(tiny_checkpoint: Path, tmp_path: Path) -> None:
    in_the_way = written(tmp_path, "a file", "file")
    done = run("spectra", written(tmp_path, ROW), "--model", tiny_checkpoint, "--out", in_the_way / "run")
    refused(done, "Cannot write the run", str(in_the_way / "run"))


def test_a_folder_that_is_something_else(tiny_checkpoint: Path, tmp_path: Path) -> None:
    written(tmp_path, "precious", "notes.txt")
    refused(
        run("spectra", written(tmp_path, ROW), "--model", tiny_checkpoint, "--out", tmp_path), "is not empty", "notes"
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root on Linux")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.slow  # a process on a disk of its own
def test_a_full_disk_keeps_what_was_published(tiny_checkpoint: Path, small_disk: Path) -> None:
    command = ["spectra", SAMPLE, "--model", tiny_checkpoint, "--out", small_disk / "run", "--part-rows", 2,
               "--max-length", 128, "--quiet"]  # fmt: skip
    done = run(*command)
    refused(done, "The disk is full", "what was already published is safe")
    kept = open_run(small_disk / "run")
    assert 0 < kept.counts.done < 72
    assert not list((small_disk / "run").rglob("*.partial"))
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    parts = {path: path.stat().st_mtime_ns for path in (small_disk / "run" / "examples").iterdir()}
    assert run(*command).returncode == 0
    assert open_run(small_disk / "run").is_complete
    assert all(path.stat().st_mtime_ns == before for path, before in parts.items())


@pytest.mark.slow
def test_settings_and_data_that_differ_on_resume(spectra: Any, tmp_path: Path) -> None:
    data = written(tmp_path, ROW * 2)
    assert spectra(data, "--max-length", 64).returncode == 0
    refused(spectra(data, "--max-length", 32), "--max-length 64 (now 32)")
    assert spectra(data, "--max-length", 64, "--batch-tokens", 99).returncode == 0
    written(tmp_path, ROW + ROW.replace("Blue", "Red"))
    refused(spectra(data, "--max-length", 64), "the data: other rows, or rows whose content has changed")


def test_unknown_models(spectra: Any, tmp_path: Path) -> None:
    data = written(tmp_path, ROW)
    refused(spectra(data, model="smollm-135m"), "Did you mean the built-in 'smollm2-135m'?")
    refused(spectra(data, model=tmp_path / "nothing"), "No model at")
    refused(spectra(data, model="owner/never-heard-of"), "Cannot load the model 'owner/never-heard-of'")


def test_a_model_without_separate_attention_projections(spectra: Any, tokenizer: Any, tmp_path: Path) -> None:
    import transformers as hf

    config = hf.MambaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, state_size=4)
    hf.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "mamba")
    tokenizer.save_pretrained(tmp_path / "mamba")
    done = spectra(written(tmp_path, ROW), model=tmp_path / "mamba")
    refused(done, "has no projections named q, k, v, o", "mixer.in_proj")


@pytest.mark.slow
def test_pickled_weights_only_when_asked(spectra: Any, tiny_checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file

    folder = tmp_path / "pickled"
    shutil.copytree(tiny_checkpoint, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    data = written(tmp_path, ROW)
    refused(spectra(data, model=folder), "--allow-pickle")
    assert spectra(data, "--allow-pickle", model=folder).returncode == 0


def test_bad_settings_are_plain_lines(spectra: Any, tmp_path: Path) -> None:
    data = written(tmp_path, ROW)
    refused(spectra(data, "--rows", "9:3"), "expected A:B")
    refused(spectra(data, "--projections", "q,w"), "Unknown projection 'w'")
    refused(spectra(data, "--device", "warp"), "--device warp")
    done = spectra(data, "--max-length", "many")
    refused(done, "gradprism: --max-length: Input should be a valid integer", "given: 'many'")
    assert "pydantic" not in done.stderr
    refused(spectra(data, "--bogus"), "gradprism: Unknown option: --bogus")


@pytest.mark.slow  # half a second or more
def test_json_summary_and_replay_of_the_recipe(spectra: Any, tmp_path: Path) -> None:
    done = spectra(SAMPLE, "--limit", 6, "--json")
    summary = json.loads(done.stdout)
    assert summary["complete"]
    assert summary["counts"]["ok"] == 6
    assert set(summary["measures"]) == {"q", "k", "v", "o"}
    again = run("run", tmp_path / "run" / "recipe.yaml", "--out", tmp_path / "again", "--json")
    for projection, means in json.loads(again.stdout)["measures"].items():
        assert means == pytest.approx(summary["measures"][projection], rel=1e-5)
    same = run("run", tmp_path / "run" / "recipe.yaml", "--json")  # complete already: nothing is loaded
    assert len(json.loads(same.stdout)["sessions"]) == 1


@pytest.mark.slow  # a run, and its groups compared
def test_show_compares_groups_raw_and_at_equal_length(spectra: Any, tmp_path: Path) -> None:
    assert spectra(SAMPLE, "--limit", 16).returncode == 0
    done = run("show", tmp_path / "run", "--by", "kind")
    assert done.returncode == 0, done.stderr
    for words in ("16 ok, 0 skipped, 0 failed = 16", "careful", "careless", "bare", "steps", "length-controlled"):
        assert words in done.stdout
    groups = json.loads(run("show", tmp_path / "run", "--by", "kind", "--json").stdout)["groups"]["effective_rank"]
    assert [row["group"] for row in groups] == ["bare", "careful", "careless", "steps"]
    refused(run("show", tmp_path / "run", "--by", "flavour"), "no such column", "kind")
    refused(run("show", tmp_path), "is not a run")


@pytest.mark.slow
def test_quiet_prints_nothing(spectra: Any) -> None:
    done = spectra(SAMPLE, "--limit", 2, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_inspect_shows_the_text_and_loads_no_weights(tiny_checkpoint: Path, tmp_path: Path) -> None:
    tokenizer_only = tmp_path / "tokenizer"
    tokenizer_only.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "chat_template.jinja"):
        (tokenizer_only / name).write_bytes((tiny_checkpoint / name).read_bytes())
    done = run("inspect", SAMPLE, "--model", tokenizer_only, "--template", "chat")
    assert done.returncode == 0, done.stderr
    for words in ("JSON Lines", "instruction / input / output", "photosynthesis-careful", "in the loss", "72 chosen"):
        assert words in done.stdout
    assert "<|turn|>assistant" in done.stdout
    config = json.loads((tokenizer_only / "config.json").read_text())
    written(tokenizer_only, json.dumps(config | {"max_position_embeddings": 64}), "config.json")
    assert "to 64, median 64" in run("inspect", SAMPLE, "--model", tokenizer_only).stdout  # no more than it can take
    assert "⟦A plant cannot walk" in done.stdout  # no colour in a pipe: the loss is marked by brackets
    assert "<|end|>⟧" in done.stdout


def test_inspect_without_a_model_shows_the_turns(tmp_path: Path) -> None:
    data = written(
        tmp_path, ROW + '{"instruction": "a", "output": 7.5, "kind": "x"}\n{"instruction": "a", "output": [1]}\n'
    )
    done = run("inspect", data)
    assert done.returncode == 0, done.stderr
    for words in ("user: Name a colour.", "assistant: Blue.", "3 chosen, 1 would be skipped", "of type int"):
        assert words in done.stdout


def test_models_lists_the_built_in_ones() -> None:
    done = run("models")
    assert "smollm2-135m" in done.stdout
    assert "gemma-3-270m" in done.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['gradprism', '--help']\n"
        "from gradprism.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'polars', 'pydantic', 'datasets', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow  # a process of its own, which imports most of the package
def test_reading_a_run_needs_no_torch() -> None:
    code = (
        "import sys, pkgutil, importlib\nimport gradprism\n"
        "for folder in ('runs', 'comparison', 'correlation', 'selection', 'set_diversity', 'stats', 'figures',\n"
        "               'report'):\n"
        "    package = importlib.import_module(f'gradprism.{folder}')\n"
        "    for module in pkgutil.walk_packages(package.__path__, f'gradprism.{folder}.'):\n"
        "        importlib.import_module(module.name)\n"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("where", ["in python", "in a module that is loaded"])
def test_ctrl_c_is_one_line(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled module that Ctrl-C meets while it is loaded raises an `ImportError`."""

    def stopped(*_: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as interrupt:
            if where != "in python":
                raise ImportError("initialization failed") from interrupt
            raise

    monkeypatch.setattr("gradprism.cli.app.app", stopped)
    done = run("show", "run")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "gradprism: stopped\n")
