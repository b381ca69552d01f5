"""What a model thought and what it answered, in the wrapping of each family of templates."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradprism.data.thoughts import THOUGHT_MARKS, has_thought_marks, opening_at_end, split_thoughts

NAMES = ("thoughts", "reason", "reflection", "scratchpad", "antThinking", "inner_monologue", "internal_monologue")
ANSWER = '["a"]'
PAIRS = [
    ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"), ("<seed:think>", "</seed:think>"), ("<mm:think>", "</mm:think>"),
    ("<longcat_think>", "</longcat_think>"), ("<Think>", "</THINK>"), ("<analysis>", "</analysis>"),
    ("[THINK]", "[/THINK]"), ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"), ("◁think▷", "◁/think▷"),
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"), ("<|channel>thought\n", "<channel|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"), ("[unused16]", "[unused17]"),
]  # fmt: skip
PAIRS += [(f"<{name}>", f"</{name}>") for name in NAMES]
FRAMED = [
    ("<|begin_of_thought|>hm<|end_of_thought|>\n<|begin_of_solution|>\n", "\n<|end_of_solution|>"),
    ("<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ("<|open|>think<|sep|>hm<|close|>think<|sep|><|open|>response<|sep|>", "<|close|>response<|sep|>"),
    ("<|content_thinking|>hm<|end_message|><|message_model|><|content_text|>", "<|end_message|>"),
    ("/think\nhm<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>"),
    ("<|channel>thought\nhm\n<channel|>", "<turn|>"),
    ("Here is my thought process: hm\n\nHere is my response: ", ""),
    ("Here's my thought process: hm\n\nHere's my response:\n", ""),
    ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>", "<|return|>"),
    ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>", ""),
    ("<|channel|>analysis<|message|>hm<|channel|>final<|message|>", ""),  # the end of a message left out
    ("<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>final<|message|>", ""),
    ("hm<|end|><|start|>assistant<|channel|>final<|message|>", ""),  # the first header in the prompt
    (" to=self<|message|>hm<|eom|><|start|>assistant to=user<|message|>", "<|eot|>"),
    ("<|start|>assistant to=self<|message|>hm<|eom|><|start|>assistant<|message|>", "<|eot|>"),
    ("<|message|>", "<|eot|>"),
    ('analysisWe could say ["x", "y"].assistantfinal', ""),  # special tokens taken out
]


@pytest.mark.parametrize(("opening", "closing"), PAIRS)
def test_each_pair_of_marks(opening: str, closing: str) -> None:
    draft = f'Perhaps ["x", "y"]. I would say "final: {ANSWER}".'
    whole = split_thoughts(f"{opening}{draft}{closing}\n\n{ANSWER}")
    assert (whole.answer, whole.unclosed) == (ANSWER, False)
    assert draft in whole.thoughts
    assert split_thoughts(f"{draft}\n{closing}{ANSWER}").answer == ANSWER  # opened by the template
    assert split_thoughts(f"{opening}{closing}{ANSWER}").answer == ANSWER
    for unfinished in (f"{opening}{draft}", f"{ANSWER}\n{opening}{draft}", f"{opening}a{closing}b{opening}{draft}"):
        assert split_thoughts(unfinished).unclosed
        assert split_thoughts(unfinished).answer == ""
    twice = split_thoughts(f"{opening}one{closing}{ANSWER}{opening}two{closing}")
    assert (twice.answer, twice.unclosed) == (ANSWER, False)
    assert twice.thoughts.endswith("two")


@pytest.mark.parametrize(("before", "behind"), FRAMED)
def test_each_frame_around_an_answer(before: str, behind: str) -> None:
    assert split_thoughts(before + ANSWER + behind).answer == ANSWER
    assert has_thought_marks(before) or before.startswith("analysis")


@pytest.mark.parametrize(
    "text",
    [
        f"<|channel|>analysis<|message|>Perhaps {ANSWER}",
        f"<|channel|>commentary to=functions.tag <|constrain|>json<|message|>{ANSWER}<|call|>",
        f"<|channel|>final<|message|>{ANSWER}<|end|><|start|>user<|message|>And now?",
        f"<|start|>assistant to=self<|message|>{ANSWER}<|eom|>",
        f"analysisPerhaps {ANSWER}",
        f"thought\nPerhaps {ANSWER}",
        f"Here is my thought process: perhaps {ANSWER}",
        f"<|content_thinking|>Perhaps {ANSWER}",
        f"<thinking>Perhaps </think>{ANSWER}",  # another name does not close
    ],
)
def test_a_thought_that_never_ends_leaves_no_answer(text: str) -> None:
    assert (split_thoughts(text).answer, split_thoughts(text).unclosed) == ("", True)


@pytest.mark.parametrize(
    "text",
    [
        "7", "", "I thought so.\nThe analysis: 7", "Here is my response: 7", "a < b and c > d",
        '[{"tag": "xml", "explanation": "wants <think> and </think> around it"}]',
        '[{"tag": "xml", "explanation": "ends with </think>"}]',
        '{"tags": ["harmony"], "why": "it names <|channel|>analysis<|message|> and <|end|>"}',
        "It asks for `<think>` before the answer.",
    ],
)  # fmt: skip
def test_an_answer_without_thoughts_stays_as_it_is(text: str) -> None:
    spoken = split_thoughts(text)
    assert (spoken.thoughts, spoken.answer, spoken.unclosed) == ("", text, False)


def test_nested_marks_and_marks_named_in_a_thought() -> None:
    assert split_thoughts("<think>a<think>b</think>c</think>d").answer == "d"
    assert split_thoughts("<think>I end with `</think>`, [1]</think>d").answer == "d"
    assert split_thoughts('<think>a</think>["</think>"]').answer == '["</think>"]'


@pytest.mark.parametrize(
    ("prompt", "opening"),
    [
        ("<|Assistant|><think>\n", "<think>"), ("[/INST][THINK]", "[THINK]"),
        ("<|channel>thought\n", "<|channel>thought"),
        ("assistant\n<think>\n\n</think>\n\n", ""), ("<|im_start|>assistant\n", ""), ("", ""),
        ("<|start|>assistant", "<|start|>assistant"), ("Write <think> first.<|im_end|>\n<|im_start|>assistant\n", ""),
    ],
)  # fmt: skip
def test_what_a_prompt_opens(prompt: str, opening: str) -> None:
    assert opening_at_end(prompt) == opening


WORDS = st.text('ab <>|[]{}"`\n/think:', max_size=40)
MARK_TEXTS = st.sampled_from([*(text for pair in PAIRS for text in pair), "<|message|>", "<|channel|>final", "<|end|>"])


@given(st.lists(WORDS | MARK_TEXTS, max_size=8).map("".join))
def test_any_text_is_split(text: str) -> None:
    spoken = split_thoughts(text)
    assert spoken.answer == spoken.answer.strip()
    assert not (spoken.unclosed and spoken.answer)


@given(st.sampled_from(PAIRS), st.text("abc .,\n", max_size=30), st.text("abc .,\n", max_size=30))
def test_thought_and_answer_come_back(pair: tuple[str, str], thought: str, answer: str) -> None:
    spoken = split_thoughts(f"{pair[0]}{thought}{pair[1]}{answer}")
    assert (spoken.thoughts, spoken.answer) == (thought.strip(), answer.strip())


def test_every_pair_of_the_table_is_tried() -> None:
    tried = [text for pair in (*PAIRS, *FRAMED) for text in pair]
    assert all(any(re.search(marks.opening, text) for text in tried) for marks in THOUGHT_MARKS)
