"""Selections in the form of a trainer: read back as the same turns by ours, and of TRL by its own loader."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

import gradprism
from gradprism.core.errors import GradPrismError
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings

TRAINERS = ("trl", "llama-factory", "axolotl", "open-instruct")
TOOL = {"type": "function", "function": {"name": "weather", "description": "Weather of a city", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}}  # fmt: skip


def asked(n: int, **more: Any) -> dict[str, Any]:
    said = (("system", "Be brief."), ("user", f"question {n}?"), ("assistant", f"answer {n}"))
    return {"id": f"q{n}", "messages": [{"role": role, "content": content} for role, content in said], **more}


def talk(n: int, *, first_in_loss: bool = True) -> dict[str, Any]:
    first: dict[str, Any] = {"role": "assistant", "content": f"first {n}"}
    if not first_in_loss:
        first["weight"] = 0
    return {"id": f"t{n}", "messages": [{"role": "user", "content": f"one {n}?"}, first,
            {"role": "user", "content": "two?"}, {"role": "assistant", "content": f"second {n}"}]}  # fmt: skip


def with_tools(n: int) -> dict[str, Any]:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": f"town {n}"}}}
    return {"id": f"w{n}", "tools": [TOOL], "messages": [{"role": "user", "content": "Is it wet?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "rain", "tool_call_id": "c1"},
            {"role": "assistant", "content": f"Yes {n}."}]}  # fmt: skip


def thinking(n: int) -> dict[str, Any]:
    return {"id": f"k{n}", "messages": [{"role": "user", "content": f"{n} + 1?"},
            {"role": "assistant", "reasoning_content": "count on", "content": f"{n + 1}"}]}  # fmt: skip


def chosen(tmp_path: Path, rows: list[dict[str, Any]], trainer: Any, **options: Any) -> tuple[Path, Any]:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"top": "100%", "by": "length"} | options
    out = tmp_path / "out" / "best.jsonl"
    return out, gradprism.select(tmp_path / "in.jsonl", out=out, trainer=trainer, **options)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def turns_in(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Role and text of every turn of every row, by id, as our own reader has them."""
    return {
        each.example_id: [(turn.role, " ".join(turn.text.split())) for turn in each.turns]
        for each in open_examples(str(path), ReadSettings())
    }


@pytest.mark.parametrize("trainer", TRAINERS)
def test_we_read_the_same_turns_back(tmp_path: Path, trainer: str) -> None:
    rows = [asked(1), talk(2), asked(3)]
    out, _ = chosen(tmp_path, rows, trainer)
    assert turns_in(out) == turns_in(tmp_path / "in.jsonl")
    assert (tmp_path / "out/best.card.md").read_text().count(f"--for {trainer}") == 1


def test_trl_loads_prompts_and_completions(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl.scripts.utils", reason="needs the extra `training`")
    out, found = chosen(tmp_path, [asked(1), asked(2), talk(3, first_in_loss=False)], "trl")
    registered = out.with_name("best.trl.yaml")
    assert registered in found.files
    data = trl.get_dataset(trl.DatasetMixtureConfig(**yaml.safe_load(registered.read_text())))["train"]
    assert set(data.column_names) == {"id", "prompt", "completion"}
    by_id = {row["id"]: row for row in data}
    assert by_id["q1"]["completion"] == [{"role": "assistant", "content": "answer 1"}]
    assert [turn["content"] for turn in by_id["t3"]["prompt"]] == ["one 3?", "first 3", "two?"]


def test_trl_trains_on_the_answers_that_we_measure(tmp_path: Path, tokenizer: Any, make_model: Any) -> None:
    trl = pytest.importorskip("trl", reason="needs the extra `training`")
    from trl.scripts.utils import DatasetMixtureConfig, get_dataset

    out, _ = chosen(tmp_path, [asked(1), asked(2)], "trl")
    data = get_dataset(DatasetMixtureConfig(**yaml.safe_load(out.with_name("best.trl.yaml").read_text())))["train"]
    tokenizer.pad_token = tokenizer.eos_token
    trainer = trl.SFTTrainer(
        make_model("llama"), trl.SFTConfig(output_dir=str(tmp_path / "t"), report_to=[], use_cpu=True, bf16=False),
        train_dataset=data, processing_class=tokenizer,
    )  # fmt: skip
    row = trainer.train_dataset[0]
    trained = tokenizer.decode([label for label in row["labels"] if label >= 0])
    assert "answer 1" in trained
    assert "question" not in trained


def test_trl_conversations_with_tools(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl.scripts.utils", reason="needs the extra `training`")
    out, _ = chosen(tmp_path, [with_tools(1), talk(2)], "trl")
    settings = yaml.safe_load(out.with_name("best.trl.yaml").read_text())
    assert settings.pop("assistant_only_loss") is True
    data = trl.get_dataset(trl.DatasetMixtureConfig(**settings))["train"]
    row = next(row for row in data if row["id"] == "w1")
    assert row["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"city": "town 1"}
    assert row["tools"][0]["function"]["name"] == "weather"


def test_axolotl_says_of_each_message_whether_it_is_trained_on(tmp_path: Path) -> None:
    out, _ = chosen(tmp_path, [talk(1), talk(2, first_in_loss=False)], "axolotl")
    trained = {row["id"]: [turn["train"] for turn in row["messages"]] for row in lines(out)}
    assert trained == {"t1": [False, True, False, True], "t2": [False, False, False, True]}
    (entry,) = yaml.safe_load(out.with_name("best.axolotl.yaml").read_text())["datasets"]
    assert (entry["path"], entry["type"], entry["message_field_training"]) == (str(out), "chat_template", "train")


def test_llama_factory_has_an_entry_beside_those_of_others(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/dataset_info.json").write_text('{"mine": {"file_name": "mine.json"}}')
    out, _ = chosen(tmp_path, [with_tools(1), thinking(2)], "llama-factory")
    info = json.loads((tmp_path / "out/dataset_info.json").read_text())
    assert list(info) == ["mine", "best"]
    assert info["best"]["file_name"] == "best.jsonl"
    rows = {row["id"]: row for row in lines(out)}
    assert [turn["from"] for turn in rows["w1"]["conversations"]] == ["human", "function_call", "observation", "gpt"]
    assert json.loads(rows["w1"]["conversations"][1]["value"]) == [{"name": "weather", "arguments": {"city": "town 1"}}]
    assert json.loads(rows["w1"]["tools"])[0]["name"] == "weather"
    assert rows["k2"]["conversations"][1]["value"] == "<think>\ncount on\n</think>\n\n3"
    assert "mask_history" not in yaml.safe_load(out.with_name("best.llama-factory.yaml").read_text())


def test_one_rule_for_the_whole_file(tmp_path: Path) -> None:
    out, _ = chosen(tmp_path, [talk(1, first_in_loss=False), asked(2)], "open-instruct")
    mixture = yaml.safe_load(out.with_name("best.open-instruct.yaml").read_text())
    assert mixture["dataset_transform_fn"][0] == "last_turn_tulu_tokenize_and_truncate_v1"
    out, _ = chosen(tmp_path / "..", [talk(1), asked(2)], "open-instruct")
    mixture = yaml.safe_load(out.with_name("best.open-instruct.yaml").read_text())
    assert mixture["dataset_mixer_list"] == [str(out.resolve()), "1.0"]
    assert mixture["dataset_transform_fn"][0] == "sft_tulu_tokenize_and_truncate_v1"


REFUSED = [
    ("open-instruct", [with_tools(1)], r"1 of 1 rows cannot be written for open-instruct:\s+row 0: it has tools"),
    ("llama-factory", [talk(1), talk(2, first_in_loss=False)], r"row 1: other answers of it are trained on"),
    ("trl", [talk(1), talk(2, first_in_loss=False)], r"row 1: other answers of it are trained on"),
    ("llama-factory", [{"id": "a", "messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"},
     {"role": "assistant", "content": "c"}]}], r"row 0: turn 2 is of user; questions and answers do not alternate"),
]  # fmt: skip


@pytest.mark.parametrize(("trainer", "rows", "words"), REFUSED)
def test_what_a_form_has_no_room_for_is_refused(
    tmp_path: Path, trainer: str, rows: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(GradPrismError, match=words):
        chosen(tmp_path, rows, trainer)
    assert not (tmp_path / "out").exists()


def test_rows_that_are_left_out_decide_nothing_and_keep_their_form(tmp_path: Path) -> None:
    rows = [{**asked(1), "kind": "a"}, {**with_tools(2), "kind": "b"}]
    out, found = chosen(tmp_path, rows, "open-instruct", top=None, by=(), where="kind = 'a'")
    assert found.selected["row"].to_list() == [0]
    (left,) = lines(out.with_name("best.left_out.jsonl"))
    assert left["messages"] == rows[1]["messages"]
    assert left["gradprism.reason"] == "--where does not hold"


def test_parquet_and_a_broken_list_of_data_sets(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps(asked(1)) + "\n")
    with pytest.raises(GradPrismError, match=r"ends in \.jsonl"):
        gradprism.select(tmp_path / "in.jsonl", "length", top=1, out=tmp_path / "o.parquet", trainer="trl")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/dataset_info.json").write_text("[]")
    with pytest.raises(GradPrismError, match=r"dataset_info\.json holds a list"):
        chosen(tmp_path, [asked(1)], "llama-factory")


def test_groups_and_the_random_baseline_have_a_registration_each(tmp_path: Path) -> None:
    rows = [{**asked(n), "score": n} for n in range(6)]
    _, found = chosen(tmp_path, rows, "trl", top=2, bottom=2, by="column:score", random=True)
    names = {path.name for path in found.files}
    assert {"best.high.trl.yaml", "best.low.trl.yaml", "best.random.trl.yaml"} <= names
    assert pl.Series([row["id"] for row in lines(tmp_path / "out/best.high.jsonl")]).sort().to_list() == ["q4", "q5"]


def test_a_rejected_answer_is_written_or_refused(tmp_path: Path) -> None:
    rows = [{"id": f"p{n}", "prompt": f"{n}?", "chosen": f"{n}.", "rejected": "No."} for n in range(3)]
    out, _ = chosen(tmp_path, rows, "trl")
    assert sorted(lines(out), key=str)[0] == {
        **lines(out)[0],
        "prompt": [{"role": "user", "content": "0?"}],
        "chosen": [{"role": "assistant", "content": "0."}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }
    back = {each.content_hash for each in open_examples(str(out), ReadSettings())}
    assert back == {each.content_hash for each in open_examples(str(tmp_path / "in.jsonl"), ReadSettings())}
    folders = [tmp_path / str(n) for n in range(4)]
    for folder in folders:
        folder.mkdir()
    for folder, trainer in zip(folders, ("llama-factory", "axolotl", "open-instruct"), strict=False):
        with pytest.raises(GradPrismError, match="it has a rejected answer, for which this form has no place"):
            chosen(folder, rows, trainer)
    with pytest.raises(GradPrismError, match="it has no rejected answer, unlike the rows before"):
        chosen(folders[3], [*rows, {"id": "q", "prompt": "q", "response": "r"}], "trl")
