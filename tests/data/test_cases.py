"""Rows as they are published, from the file to the mask, with a real tokenizer.

What is expected is written out piece by piece and made tokens of by the tokenizer alone.
"""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from gradprism.data.encode import Encoded, make_encoder
from gradprism.data.example import RowProblemError
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings

pytestmark = pytest.mark.slow  # needs the tokenizer of smollm2-135m

Row = dict[str, Any]
Pieces = Sequence[tuple[str, bool]]
"""Text and whether it is in the loss; the edges are such that no token crosses them."""

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALL = {"id": "a", "type": "function", "function": {"name": "weigh", "arguments": '{"thing": "pear"}'}}
CALLED = '<tool_call>\n{"name": "weigh", "arguments": {"thing": "pear"}}\n</tool_call>'
WEIGH = {"type": "function", "function": {"name": "weigh", "description": "weight of a thing", "parameters": {}}}


@pytest.fixture(scope="module")
def smol() -> Any:
    return find_checkpoint(CheckpointSettings(model="smollm2-135m"), weights=False).load_tokenizer()


@pytest.fixture
def family(tmp_path: Path) -> Any:
    """Path of the template of a family, as the wheel of the trainer TRL has it."""
    found = find_spec("trl")
    if found is None or not found.origin:
        pytest.skip("the trainer TRL, whose wheel has the families' templates, is not installed")
    folder = Path(found.origin).parent / "chat_templates"
    return lambda name: str(folder / f"{name}.jinja")


def encoded_rows(rows: Sequence[Row], tok: Any, tmp_path: Path, **text: Any) -> list[Encoded | str]:
    """Each row's tokens, or the reason why it has none."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if "{%" in (template := text.get("template", "")):
        text["template"] = str(tmp_path / "own.jinja")
        Path(text["template"]).write_text(template, encoding="utf-8")
    examples = open_examples(str(file), ReadSettings())
    encoder = make_encoder(tok, TextSettings(**text), examples.n_conversations)

    def encoded(example: Any) -> Encoded | str:
        try:
            return encoder.encode(example)
        except RowProblemError as problem:
            return str(problem)

    return [encoded(example) for example in examples]


def assert_pieces(found: Encoded | str, pieces: Pieces, tok: Any) -> None:
    ids: list[int] = []
    mask: list[bool] = []
    for text, in_loss in pieces:
        new = tok(text, add_special_tokens=False)["input_ids"]
        ids, mask = ids + new, mask + [in_loss] * len(new)
    assert ids == tok("".join(text for text, _ in pieces), add_special_tokens=False)["input_ids"]
    assert isinstance(found, Encoded), found
    assert (list(found.ids), list(found.response_mask)) == (ids, mask)


def asked(text: str) -> tuple[str, bool]:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n", False


def test_tool_calls_are_in_the_loss_where_the_template_shows_them(smol: Any, family: Any, tmp_path: Path) -> None:
    turns = [{"role": "tool", "content": "80 g"}, {"role": "assistant", "content": "80 grams."}]
    rows = [
        {"messages": [{"role": "user", "content": "Weigh it."}, {"role": "assistant", **said}, *turns]}
        for said in (
            {"content": "Let me see.", "tool_calls": [CALL]}, {"content": None, "tool_calls": [CALL]},
            {"content": "", "tool_calls": json.dumps([CALL])}, {"function_call": CALL["function"]},
        )
    ]  # fmt: skip
    behind: Pieces = [
        ("\n<|im_start|>user\n<tool_response>\n80 g\n</tool_response><|im_end|>\n<|im_start|>assistant\n", False),
        ("80 grams.<|im_end|>", True), ("\n", False),
    ]  # fmt: skip
    found = encoded_rows(rows, smol, tmp_path, template=family("qwen3_instruct_2507"))
    assert_pieces(found[0], [asked("Weigh it."), (f"Let me see.\n{CALLED}<|im_end|>", True), *behind], smol)
    for row in found[1:]:
        assert_pieces(row, [asked("Weigh it."), (f"{CALLED}<|im_end|>", True), *behind], smol)
    for reason in encoded_rows(rows, smol, tmp_path, template="paper"):
        assert isinstance(reason, str)
        assert "no form for the tool calls" in reason
    for reason in encoded_rows(rows, smol, tmp_path, template=CHATML):
        assert isinstance(reason, str)
        assert "leaves out the tool call of answer 1 of 2" in reason


def test_tools_reach_the_template(smol: Any, family: Any, tmp_path: Path) -> None:
    said = [{"role": "user", "content": "Weigh it."}, {"role": "assistant", "content": CALLED}]
    rows: list[Row] = [{"tools": tools, "messages": said} for tools in ([WEIGH], json.dumps([WEIGH["function"]]), [])]
    native, text, without = encoded_rows(rows, smol, tmp_path, template=family("qwen3_instruct_2507"))
    assert isinstance(native, Encoded)
    assert native == text
    assert "weight of a thing" in smol.decode(native.ids)
    assert_pieces(without, [asked("Weigh it."), (f"{CALLED}<|im_end|>", True), ("\n", False)], smol)


@pytest.mark.parametrize("mark", [{"weight": 0}, {"train": False}, {"loss": False}, {"training": 0}])
def test_turns_that_are_not_to_be_learnt_are_context(mark: Row, smol: Any, tmp_path: Path) -> None:
    wrong = {"role": "assistant", "content": "Eleven.", **mark}
    question = {"role": "user", "content": "5 and 5?"}
    right = [{"role": "user", "content": "Again."}, {"role": "assistant", "content": "Ten."}]
    rows: list[Row] = [{"messages": [question, wrong, *right]}, {"messages": [question, wrong]}]
    whole, alone = encoded_rows(rows, smol, tmp_path, template=CHATML)
    before = f"{asked('5 and 5?')[0]}Eleven.<|im_end|>\n{asked('Again.')[0]}"
    assert_pieces(whole, [(before, False), ("Ten.<|im_end|>", True), ("\n", False)], smol)
    assert alone == "every answer is context without loss (weight 0 or train false)"


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "reasoning"])
def test_thinking_is_in_the_loss_where_the_template_puts_it(name: str, smol: Any, family: Any, tmp_path: Path) -> None:
    said = {"role": "assistant", name: "Five fives.", "content": "25"}
    rows = [{"messages": [{"role": "user", "content": "5 times 5?"}, said]}]
    (found,) = encoded_rows(rows, smol, tmp_path, template=family("qwen3"))
    thought = "<think>\nFive fives.\n</think>\n\n25<|im_end|>"
    assert_pieces(found, [asked("5 times 5?"), (thought, True), ("\n", False)], smol)
    (reason,) = encoded_rows(rows, smol, tmp_path, template=CHATML)
    assert reason == "the chat template leaves out the thinking of answer 1 of 1. Use a template that shows it"


def test_every_row_is_read_by_what_it_holds(smol: Any, tmp_path: Path) -> None:
    rows: list[Row] = [
        {"instruction": "Say hello.", "output": "Hello."},
        {"instruction": "Turn round.", "input": "abc", "output": "cba"},
        {"system": "Be a bird.", "instruction": "Say hello.", "output": "Tweet."},
        {"system_prompt": "Be a bird.", "question": "Who?", "response": "Wren."},
        {"context": "It is late.", "question": "Go?", "answer": "Yes."},
        {"instruction": "And now?", "output": "Two.", "history": [["First?", "One."]]},
    ]
    expected: list[Pieces] = [
        [("Say hello.\n", False), ("Hello.", True)],
        [("Turn round.\nabc\n", False), ("cba", True)],
        [("Be a bird.\nSay hello.\n", False), ("Tweet.", True)],
        [("Be a bird.\nWho?\n", False), ("Wren.", True)],
        [("Go?\nIt is late.\n", False), ("Yes.", True)],
        [("First?\n", False), ("One.", True), ("\nAnd now?\n", False), ("Two.", True)],
    ]
    for order in (1, -1):
        found = encoded_rows(rows[::order], smol, tmp_path, template="paper")
        for row, pieces in zip(found, expected[::order], strict=True):
            assert_pieces(row, pieces, smol)


def test_what_is_chosen_is_measured_after_its_whole_prompt(smol: Any, tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "A table?"}]
    later = [{"role": "user", "content": "Eight."}, {"role": "assistant", "content": "Booked."}]
    several = [{"role": "assistant", "content": "When?"}, *later]
    rows: list[Row] = [
        {"prompt": prompt, "chosen": several, "rejected": several[:1]},
        {"prompt": "A table?", "chosen": several, "rejected": several[:1]},
        {"prompt": "A table?", "chosen": [*prompt, *several], "rejected": [*prompt, *several[:1]]},
        {"conversations": [{"from": "human", "value": "A table?"}, {"from": "gpt", "value": "When?"},
                           {"from": "human", "value": "Eight."}],
         "chosen": {"from": "gpt", "value": "Booked."}, "rejected": {"from": "gpt", "value": "No."}},
    ]  # fmt: skip
    found = encoded_rows(rows, smol, tmp_path, template=CHATML)
    answers: Pieces = [("\n" + asked("Eight.")[0], False), ("Booked.<|im_end|>", True), ("\n", False)]
    for row in found[:3]:
        assert_pieces(row, [asked("A table?"), ("When?<|im_end|>", True), *answers], smol)
    assert_pieces(found[3], [(f"{asked('A table?')[0]}When?<|im_end|>", False), *answers], smol)


def test_content_is_handed_over_as_parts_where_the_template_wants_parts(smol: Any, tmp_path: Path) -> None:
    parts = CHATML.replace("{{ m.content }}", "{% for p in m.content if p.type == 'text' %}{{ p.text }}{% endfor %}")
    said = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": [{"type": "text", "text": "Wren."}]}]
    for template in (parts, CHATML):
        (found,) = encoded_rows([{"messages": said}], smol, tmp_path, template=template)
        assert_pieces(found, [asked("Who?"), ("Wren.<|im_end|>", True), ("\n", False)], smol)


def test_an_answer_without_its_thinking_is_no_answer(smol: Any, family: Any, tmp_path: Path) -> None:
    said = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "<think>\nsmall\n</think>\n\nWren."}]
    strips = CHATML.replace("m.content }}", "m.content.split('</think>')[-1].lstrip() }}")
    for template in (strips, family("deepseek_r1_distill")):
        (reason,) = encoded_rows([{"messages": said}], smol, tmp_path, template=template)
        assert isinstance(reason, str)
        assert "leaves out the text of answer 1 of 1" in reason


def test_a_template_without_a_generation_prompt_puts_no_header_into_the_loss(smol: Any, tmp_path: Path) -> None:
    bare = CHATML.partition("{% if")[0]
    said = [{"role": role, "content": text} for role, text in
            (("user", "Who?"), ("assistant", "Wren."), ("user", "More."), ("assistant", "Kite."))]  # fmt: skip
    (found,) = encoded_rows([{"messages": said}], smol, tmp_path, template=bare)
    between = ("\n" + asked("More.")[0], False)
    pieces = [asked("Who?"), ("Wren.<|im_end|>", True), between, ("Kite.<|im_end|>", True), ("\n", False)]
    assert_pieces(found, pieces, smol)


def test_paper_scores_the_answer_and_no_end_that_the_tokenizer_appends(smol: Any, tmp_path: Path) -> None:
    ends = find_checkpoint(CheckpointSettings(model="smollm2-135m"), weights=False).load_tokenizer()
    eos = ends.eos_token
    ends.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"$A {eos}", special_tokens=[(eos, ends.eos_token_id)]
    )
    assert ends("a")["input_ids"][-1] == ends.eos_token_id
    rows: list[Row] = [{"prompt": "Who?", "completion": "A wren, it is."}]
    for tok in (smol, ends):
        (found,) = encoded_rows(rows, tok, tmp_path)
        assert_pieces(found, [("Who?\n", False), ("A wren, it is.", True)], smol)


GREETING = [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Boots."},
            {"role": "assistant", "content": "Size?"}]  # fmt: skip
FAMILIES = {  # what begins an answer and what ends it, in the midst and at the end
    "deepseek_r1_distill": ("<｜Assistant｜>", "<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "nemotron_3_nano": ("<|im_start|>assistant\n", "<|im_end|>", "<|im_end|>"),
    "phi3": ("<|assistant|>\n", "<|end|>", "<|end|>\n<|im_end|>"),
    "phi3_5": ("<|assistant|>\n", "<|end|>", "<|end|>\n<|im_end|>"),
    "gptoss": ("<|start|>assistant", "<|end|>", "<|return|>"),
    "qwen3_5_think": ("<|im_start|>assistant\n", "<|im_end|>", "<|im_end|>"),
    "qwen3": ("<|im_start|>assistant\n", "<|im_end|>", "<|im_end|>"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_that_open_or_end_turns_by_their_place_are_read(
    name: str, smol: Any, family: Any, tmp_path: Path
) -> None:
    """The rendered text of the family, cut by hand: each answer from behind its header through its own end."""
    header, end, last_end = FAMILIES[name]
    for turns in (GREETING, GREETING[1:]):
        (found,) = encoded_rows([{"messages": turns}], smol, tmp_path, template=family(name), date="2025-02-03")
        assert isinstance(found, Encoded), found
        text = smol.decode(found.ids)
        answers = [turn["content"] for turn in turns if turn["role"] == "assistant"]
        places = []
        for number, said in enumerate(answers, 1):
            stop = text.index(said) + len(said) + len(last_end if number == len(answers) else end)
            places.append((text.rindex(header, 0, text.index(said)) + len(header), stop))
        spans = smol(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        masked = [any(a < stop and start < b for start, stop in places) for a, b in spans]
        assert list(found.response_mask) == masked
