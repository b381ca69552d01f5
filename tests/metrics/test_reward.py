"""Rewards against the `transformers` pipeline, which scores one text at a time."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

import gradprism
from gradprism.core.errors import GradPrismError
from gradprism.data.example import Example, Turn

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def classifier(tokenizer: Any) -> Callable[..., Any]:
    """`classifier(num_labels=1)`: a small Llama-type sequence classifier with random weights."""

    def make(num_labels: int = 1, **changes: Any) -> Any:
        torch.manual_seed(0)
        sizes = {
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512, "pad_token_id": None,
        }  # fmt: skip
        config = hf.LlamaConfig(**(sizes | changes), num_labels=num_labels)
        model = hf.AutoModelForSequenceClassification.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.data.mul_(4.0)
        return model.eval()

    return make


@pytest.fixture(scope="module")
def saved(classifier: Callable[..., Any], tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward") / "model"
    classifier().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def side(tokenizer: Any, padding: str) -> Iterator[None]:
    before, tokenizer.padding_side = tokenizer.padding_side, padding
    try:
        yield
    finally:
        tokenizer.padding_side = before


def padded(tokenizer: Any, padding: str) -> Any:
    """With a padding token, which the pipeline needs for batches, on one side."""
    own = deepcopy(tokenizer)
    own.pad_token, own.padding_side = own.convert_ids_to_tokens(0), padding
    return own


def by_pipeline(model: Any, tokenizer: Any, rows: Rows, batch_size: int = 1) -> list[float]:
    score = hf.pipeline("text-classification", model=model, tokenizer=tokenizer, function_to_apply="none")
    messages = [
        [{"role": "user", "content": prompt(row)}, {"role": "assistant", "content": row["output"]}] for row in rows
    ]
    texts = [tokenizer.apply_chat_template(item, tokenize=False) for item in messages]
    return [found["score"] for found in score(texts, truncation=True, max_length=512, batch_size=batch_size)]


def prompt(row: dict[str, str]) -> str:
    return row["instruction"] + (f"\n{row['input']}" if row.get("input") else "")


@pytest.mark.parametrize("padding", ["left", "right"])
@pytest.mark.parametrize("pad_token_id", [None, 0])
@pytest.mark.parametrize("tokens", [1, 100_000])
@pytest.mark.slow
def test_rewards_are_those_of_the_pipeline(
    classifier: Callable[..., Any],
    tokenizer: Any,
    sample_rows: Rows,
    padding: str,
    pad_token_id: Any,
    tokens: int,
) -> None:
    model = classifier(pad_token_id=pad_token_id)
    with side(tokenizer, padding):
        pads = pad_token_id is not None  # without it the pipeline takes one at a time
        expected = by_pipeline(model, padded(tokenizer, padding), sample_rows[:12], 5 if pads else 1)
        found = gradprism.reward(sample_rows[:12], model, tokenizer=tokenizer, batch_tokens=tokens)
    assert found["value"].to_list() == pytest.approx(expected, abs=1e-5)
    assert model.config.pad_token_id == pad_token_id


def test_a_saved_model_into_a_run(saved: Path, sample_rows: Rows, tmp_path: Path) -> None:
    run = gradprism.score(sample_rows[:6], "reward", reward_model=str(saved), out=tmp_path / "run")
    model = hf.AutoModelForSequenceClassification.from_pretrained(saved)
    expected = by_pipeline(model, hf.AutoTokenizer.from_pretrained(saved), sample_rows[:6])
    assert run.scores("reward")["value"].to_list() == pytest.approx(expected, abs=1e-5)


def test_long_conversations_are_cut_on_the_right_and_say_so(classifier: Callable[..., Any], tokenizer: Any) -> None:
    model = classifier()
    rows = [{"prompt": "a", "completion": "b " * 2000}, {"prompt": "a", "completion": "b"}]
    before = tokenizer.truncation_side
    found = gradprism.reward(rows, model, tokenizer=tokenizer, reward_max_length=50)
    assert found["truncated"].to_list() == [True, False]
    assert found["n_tokens"][0] == 50
    assert tokenizer.truncation_side == before
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b " * 2000}], tokenize=False
    )
    ids = torch.tensor([tokenizer(text)["input_ids"][:50]])
    with torch.no_grad():
        assert found["value"][0] == pytest.approx(float(model(ids).logits[0, 0]), abs=1e-5)


def test_the_beginning_of_text_stands_there_once(
    classifier: Callable[..., Any], sample_rows: Rows, tokenizer: Any
) -> None:
    from copy import deepcopy

    from tokenizers.processors import TemplateProcessing

    own = deepcopy(tokenizer)
    own.bos_token = "<|turn|>"
    own.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|turn|> $A", special_tokens=[("<|turn|>", own.bos_token_id)]
    )
    assert own("a")["input_ids"][0] == own.bos_token_id
    doubled = gradprism.reward(sample_rows[:3], classifier(), tokenizer=own)
    single = gradprism.reward(sample_rows[:3], classifier(), tokenizer=tokenizer)
    assert doubled["n_tokens"].to_list() == single["n_tokens"].to_list()
    assert doubled["value"].to_list() == pytest.approx(single["value"].to_list(), abs=1e-6)


def test_all_turns_of_a_conversation_are_read(classifier: Callable[..., Any], tokenizer: Any) -> None:
    turns = [("user", "One?"), ("assistant", "It is one."), ("user", "Two?"), ("assistant", "Two."), ("user", "So?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    model = classifier()
    found = gradprism.reward([{"messages": messages}], model, tokenizer=tokenizer)
    ids = tokenizer(tokenizer.apply_chat_template(messages[:4], tokenize=False), return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert found["value"][0] == pytest.approx(float(model(ids).logits[0, 0]), abs=1e-5)


def test_which_of_two_outputs_must_be_said(classifier: Callable[..., Any], tokenizer: Any, sample_rows: Rows) -> None:
    model = classifier(num_labels=2)
    with pytest.raises(GradPrismError, match=r"2 outputs.*0 \(LABEL_0\), 1 \(LABEL_1\)"):
        gradprism.reward(sample_rows[:2], model, tokenizer=tokenizer)
    with pytest.raises(GradPrismError, match="no output 'good'"):
        gradprism.reward(sample_rows[:2], model, tokenizer=tokenizer, reward_output="good")
    by_name = gradprism.reward(sample_rows[:2], model, tokenizer=tokenizer, reward_output="LABEL_1")
    by_number = gradprism.reward(sample_rows[:2], model, tokenizer=tokenizer, reward_output="1")
    other = gradprism.reward(sample_rows[:2], model, tokenizer=tokenizer, reward_output="0")
    assert by_name["value"].to_list() == by_number["value"].to_list() != other["value"].to_list()


def test_without_a_chat_template_a_file_is_asked_for(
    classifier: Callable[..., Any], tokenizer: Any, tmp_path: Path, sample_rows: Rows
) -> None:
    bare = deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(GradPrismError, match="--reward-template"):
        gradprism.reward(sample_rows[:2], classifier(), tokenizer=bare)
    template = tmp_path / "mine.jinja"
    template.write_text(tokenizer.chat_template)
    found = gradprism.reward(sample_rows[:2], classifier(), tokenizer=bare, reward_template=template)
    assert (
        found["value"].to_list()
        == gradprism.reward(sample_rows[:2], classifier(), tokenizer=tokenizer)["value"].to_list()
    )


def test_a_language_model_is_no_reward_model(
    tiny_checkpoint: Path, saved: Path, sample_rows: Rows, tmp_path: Path
) -> None:
    with pytest.raises(GradPrismError, match="no reward model: it was saved as LlamaForCausalLM"):
        gradprism.reward(sample_rows[:2], str(tiny_checkpoint))
    shutil.copytree(tiny_checkpoint, tmp_path / "headless")  # a classifier by its configuration, without the weights
    shutil.copy(saved / "config.json", tmp_path / "headless" / "config.json")
    with pytest.raises(GradPrismError, match=r"no weights for.*score\.weight.*random"):
        gradprism.reward(sample_rows[:2], str(tmp_path / "headless"))


def test_rows_without_a_reward_say_why(classifier: Callable[..., Any], tokenizer: Any) -> None:
    rows = [{"prompt": "a", "completion": text} for text in (" ", "b", "half a pair \ud83d")]
    found = gradprism.reward(rows, classifier(), tokenizer=tokenizer)
    assert found["status"].to_list() == ["skipped", "ok", "skipped"]
    assert found["value"].is_null().to_list() == [True, False, True]
    assert found["reason"][0] == "empty response"
    assert "no Unicode" in found["reason"][2]


def test_a_token_id_beyond_the_embeddings_fails_its_row_alone(classifier: Callable[..., Any], tokenizer: Any) -> None:
    model = classifier()
    model.resize_token_embeddings(len(tokenizer) - 40)
    rows = [{"prompt": "a", "completion": text} for text in ("b", tokenizer.decode([len(tokenizer) - 1]))]
    found = gradprism.reward(rows, model, tokenizer=tokenizer)
    assert found["status"].to_list() == ["ok", "failed"]
    assert "embeddings" in found["reason"][1]


def test_the_default_of_several_chat_templates(
    classifier: Callable[..., Any], tokenizer: Any, sample_rows: Rows
) -> None:
    several = deepcopy(tokenizer)
    several.chat_template = {"default": tokenizer.chat_template, "tool_use": "{{ 1 / 0 }}"}
    found = gradprism.reward(sample_rows[:2], classifier(), tokenizer=several)
    assert found.equals(gradprism.reward(sample_rows[:2], classifier(), tokenizer=tokenizer))


def test_a_model_whose_positions_begin_at_two(tokenizer: Any) -> None:
    """RoBERTa counts 66 positions and takes 64 tokens; the tokenizer need not say so."""
    torch.manual_seed(0)
    config = hf.RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32,
        max_position_embeddings=66, num_labels=1,
    )  # fmt: skip
    model = hf.AutoModelForSequenceClassification.from_config(config).eval()
    found = gradprism.reward([{"prompt": "a", "completion": "b " * 300}], model, tokenizer=tokenizer).row(0, named=True)
    assert (found["status"], found["truncated"], found["n_tokens"]) == ("ok", True, 64)


def test_a_loaded_reward_model_into_a_run_is_refused_in_words(
    classifier: Callable[..., Any], sample_rows: Rows, tmp_path: Path
) -> None:
    with pytest.raises(GradPrismError, match=r"gradprism\.reward"):
        gradprism.score(sample_rows[:2], "reward", reward_model=classifier(), out=tmp_path / "run")


THINKING = (
    "{% if tools %}Tools: {% for t in tools %}{{ t.function.name }} {% endfor %}{% endif %}"
    "{% for m in messages %}<|turn|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function.name }} {{ c.function.arguments | tojson }}</call>"
    "{% endfor %}<|end|>\n{% endfor %}"
)
ASKED = Turn("user", "2+2?")
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2}}}
ANSWER = Turn("assistant", "I will add.", thinking="Use the tool.", tool_calls=(CALL,))


def conversations(*turns: Sequence[Turn], **more: Any) -> list[Example]:
    return [Example(row, str(row), tuple(each), **more) for row, each in enumerate(turns)]


def with_template(tokenizer: Any, template: str) -> Any:
    own = deepcopy(tokenizer)
    own.chat_template = template
    return own


def reward_of(model: Any, tokenizer: Any, text: str) -> float:
    with torch.no_grad():
        return float(model(torch.tensor([tokenizer(text)["input_ids"]])).logits[0, 0])


def test_thinking_calls_and_tools_go_to_the_template(classifier: Callable[..., Any], tokenizer: Any) -> None:
    model, own = classifier(), with_template(tokenizer, THINKING)
    tools = ({"type": "function", "function": {"name": "add", "parameters": {}}},)
    found = gradprism.reward(conversations([ASKED, ANSWER], tools=tools), model, tokenizer=own)
    text = (
        "Tools: add <|turn|>user\n2+2?<|end|>\n<|turn|>assistant\n<think>Use the tool.</think>I will add."
        '<call>add {"a": 2}</call><|end|>\n'
    )
    assert found["value"].to_list() == pytest.approx([reward_of(model, own, text)], abs=1e-5)


def test_an_answer_that_the_template_leaves_out_is_not_judged(classifier: Callable[..., Any], tokenizer: Any) -> None:
    calling = Turn("assistant", tool_calls=(CALL,))
    rows = conversations(
        [ASKED, ANSWER],
        [ASKED, calling, Turn("tool", "4"), Turn("assistant", "Four.")],
        [ASKED, Turn("assistant", "Four.")],
        [ASKED, calling],
    )
    found = gradprism.reward(rows, classifier(), tokenizer=tokenizer)
    assert found["status"].to_list() == ["skipped", "ok", "ok", "skipped"]
    assert "leaves out the thinking of answer 1 of 1" in found["reason"][0]
    assert "leaves out the tool call of answer 1 of 1" in found["reason"][3]


def test_answers_without_loss_are_context(classifier: Callable[..., Any], tokenizer: Any) -> None:
    start = [Turn("user", "One?"), Turn("assistant", "1"), Turn("user", "Two?")]
    unscored = Turn("assistant", "2", in_loss=False)
    found = gradprism.reward(
        conversations([*start, unscored], start[:2], [start[0], unscored]), classifier(), tokenizer=tokenizer
    )
    assert found["value"][0] == pytest.approx(found["value"][1], abs=1e-6)
    assert found["status"].to_list() == ["ok", "ok", "skipped"]
    assert "every answer is context without loss" in found["reason"][2]


def test_a_template_for_parts_gets_parts(classifier: Callable[..., Any], tokenizer: Any, sample_rows: Rows) -> None:
    shown = "{% for part in m.content %}{{ part.text }}{% endfor %}"
    parts = "{% for m in messages %}<|turn|>{{ m.role }}\n" + shown + "<|end|>\n{% endfor %}"
    model = classifier()
    found = gradprism.reward(sample_rows[:3], model, tokenizer=with_template(tokenizer, parts))
    assert found.equals(gradprism.reward(sample_rows[:3], model, tokenizer=tokenizer))


def test_a_mistake_in_the_template_ends_the_job(classifier: Callable[..., Any], tokenizer: Any) -> None:
    broken = with_template(tokenizer, "{% for m in messages %}\n{% fi %}")
    with pytest.raises(GradPrismError, match=r"^The reward model's chat template: line 2: "):
        gradprism.reward([{"prompt": "a", "completion": "b"}], classifier(), tokenizer=broken)


DATED = "Today: {{ strftime_now('%d %B %Y') }}\n"


@pytest.fixture
def dated(classifier: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> str:
    """A reward model whose template prints the date."""
    classifier().save_pretrained(tmp_path / "dated")
    with_template(tokenizer, DATED + tokenizer.chat_template).save_pretrained(tmp_path / "dated")
    return str(tmp_path / "dated")


def test_the_date_of_a_template_is_fixed(
    dated: str, sample_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scored(out: str, **options: Any) -> Any:
        return gradprism.score(sample_rows[:2], "reward", reward_model=dated, out=tmp_path / out, **options)

    run = scored("run", date="2025-01-02")
    assert run.score_record("reward")["identity"]["reward.reward_date"] == "2025-01-02"
    model = hf.AutoModelForSequenceClassification.from_pretrained(dated).eval()
    tokenizer = hf.AutoTokenizer.from_pretrained(dated)
    messages = [
        {"role": "user", "content": prompt(sample_rows[0])}, {"role": "assistant", "content": sample_rows[0]["output"]}
    ]  # fmt: skip
    plain = tokenizer.chat_template.removeprefix(DATED)
    text = "Today: 02 January 2025\n" + tokenizer.apply_chat_template(messages, chat_template=plain, tokenize=False)
    assert run.scores("reward")["value"][0] == pytest.approx(reward_of(model, tokenizer, text), abs=1e-5)
    again = scored("run")  # on another day
    assert again.scores("reward").equals(run.scores("reward"))
    with pytest.raises(GradPrismError, match=r"--reward-date 2025-01-02 \(now 2025-03-04\)"):
        scored("run", reward_date="2025-03-04")


def test_the_day_of_a_template_without_a_date_is_no_setting(saved: Path, sample_rows: Rows, tmp_path: Path) -> None:
    """Rewards that were begun before the date was one go on."""
    options = {"reward_model": str(saved), "out": tmp_path / "run"}
    run = gradprism.score(sample_rows[:2], "reward", date="2025-01-02", **options)
    assert run.score_record("reward")["identity"]["reward.reward_date"] is None
    gradprism.score(sample_rows[:2], "reward", date="2025-03-04", **options)
