"""Rows in the form that a trainer reads, and what registers them there: TRL, LLaMA-Factory, axolotl, open-instruct.

The forms are those of their documentation: of TRL 1.16 (dataset formats), of LLaMA-Factory (data/README.md, sharegpt),
of axolotl (chat_template), and of open-instruct (dataset_transformation.py).
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from gradprism.core.errors import GradPrismError
from gradprism.data.example import Example, RowProblemError, Turn, positions_of_scored_answers
from gradprism.data.record import Row
from gradprism.selection.settings import TrainerName

Answers = Literal["all", "last"]
"""The answers of a conversation that are trained on."""


class TrainerFormat(ABC):
    """The form in which one trainer reads rows."""

    takes_preferences: ClassVar[bool] = False
    """Whether a row may have a rejected answer beside the chosen one."""
    tells_answers_apart: ClassVar[bool] = False
    """Whether each row can say which of its answers are trained on; else it is one rule for the whole file."""

    def __init__(self, answers: Answers):
        """Make the form for files of which all answers, or the last alone, are trained on."""
        self.answers = answers

    @abstractmethod
    def row(self, example: Example, scored: Sequence[int]) -> Row:
        """Return a row; `scored` are the positions of the turns in the loss. Raises `RowProblemError`."""

    @abstractmethod
    def registration(self, files: Mapping[str, Path], beside: Path) -> dict[str, str]:
        """Return the files, by name, that tell the trainer of these; `beside` is the folder that they lie in."""


class Trl(TrainerFormat):
    """Prompt and completion as messages, or whole conversations, for `SFTTrainer`; preferences for `DPOTrainer`."""

    takes_preferences = True

    def row(self, example: Example, scored: Sequence[int]) -> Row:
        """Return `prompt` and `completion`, or `messages` where all answers are trained on; or both answers."""
        messages = [_message(turn) for turn in example.answered]
        tools = {"tools": [*example.tools]} if example.tools else {}
        options = {"chat_template_kwargs": dict(example.template_options)} if example.template_options else {}
        if example.documents:
            raise RowProblemError("it has documents, which this trainer does not show to the template")
        if example.rejected:
            *asked, rejected = [_message(turn) for turn in example.rejected]
            if asked != messages[:-1]:
                raise RowProblemError("its chosen and its rejected answer are of two conversations")
            return {"prompt": asked, "chosen": messages[-1:], "rejected": [rejected], **tools, **options}
        if self.answers == "all":
            return {"messages": messages, **tools, **options}
        return {"prompt": messages[:-1], "completion": messages[-1:], **tools, **options}

    def registration(self, files: Mapping[str, Path], beside: Path) -> dict[str, str]:
        """Return the part of a configuration of `trl sft --config`."""
        return {
            f"{name}.trl.yaml": _yaml({
                "datasets": [{"path": "json", "data_files": str(path), "split": "train"}],
                **({"assistant_only_loss": True} if self.answers == "all" else {}),
            })
            for name, path in files.items()
        }  # fmt: skip


class Axolotl(TrainerFormat):
    """Messages of which each says whether it is trained on, for the dataset type `chat_template`."""

    tells_answers_apart = True

    def row(self, example: Example, scored: Sequence[int]) -> Row:
        """Return `messages`, each with `train`."""
        _refuse_beyond_tools(example)
        messages = [{**_message(turn), "train": place in scored} for place, turn in enumerate(example.answered)]
        return {"messages": messages, **({"tools": [*example.tools]} if example.tools else {})}

    def registration(self, files: Mapping[str, Path], beside: Path) -> dict[str, str]:
        """Return the part of a configuration with the data sets."""
        return {
            f"{name}.axolotl.yaml": _yaml({
                "datasets": [{
                    "path": str(path), "ds_type": "json", "type": "chat_template", "field_messages": "messages",
                    "message_property_mappings": {"role": "role", "content": "content"}, "roles_to_train": [],
                    "message_field_training": "train", "train_on_eos": "turn",
                }],
            })
            for name, path in files.items()
        }  # fmt: skip


class LlamaFactory(TrainerFormat):
    """Conversations in the form `sharegpt`, and an entry of dataset_info.json for each file."""

    def row(self, example: Example, scored: Sequence[int]) -> Row:
        """Return `conversations`, `system` and `tools`."""
        _refuse_beyond_tools(example)
        turns = [*example.answered]
        system = turns.pop(0).content if turns[0].role in ("system", "developer") else ""
        said = [self._turn(turn) for turn in turns]
        for place, (turn, each) in enumerate(zip(turns, said, strict=True)):
            if (each["from"] in ("human", "observation")) != (place % 2 == 0):
                raise RowProblemError(f"turn {place + 1} is of {turn.role}; questions and answers do not alternate")
        tools = json.dumps([tool.get("function", tool) for tool in example.tools], ensure_ascii=False)
        return {"conversations": said, "system": system, "tools": tools if example.tools else ""}

    def registration(self, files: Mapping[str, Path], beside: Path) -> dict[str, str]:
        """Return dataset_info.json, with the entries that are there already, and the settings of the training."""
        info = beside / "dataset_info.json"
        entries = _entries_in(info)
        entries |= {
            name: {
                "file_name": path.name, "formatting": "sharegpt",
                "columns": {"messages": "conversations", "system": "system", "tools": "tools"},
            }
            for name, path in files.items()
        }  # fmt: skip
        last = {"mask_history": True} if self.answers == "last" else {}
        settings = {
            f"{name}.llama-factory.yaml": _yaml({"dataset_dir": str(beside), "dataset": name, **last}) for name in files
        }
        return {info.name: json.dumps(entries, indent=2, ensure_ascii=False) + "\n", **settings}

    def _turn(self, turn: Turn) -> dict[str, str]:
        if turn.tool_calls:
            if turn.content.strip() or turn.thinking.strip():
                raise RowProblemError("an answer says something and calls a tool, for which this form has no place")
            functions = [call.get("function", call) for call in turn.tool_calls]
            calls = [{name: function.get(name) for name in ("name", "arguments")} for function in functions]
            return {"from": "function_call", "value": json.dumps(calls, ensure_ascii=False)}
        names = {"user": "human", "assistant": "gpt", "tool": "observation"}
        if turn.role not in names:
            raise RowProblemError(f"a turn of {turn.role} stands in the middle, for which this form has no place")
        return {"from": names[turn.role], "value": _with_thinking(turn)}


class OpenInstruct(TrainerFormat):
    """Messages of role and content, for `finetune.py`."""

    def row(self, example: Example, scored: Sequence[int]) -> Row:
        """Return `messages`."""
        _refuse_beyond_tools(example)
        if example.tools or any(turn.tool_calls or turn.role == "tool" for turn in example.turns):
            raise RowProblemError("it has tools, for which this form has no place")
        return {"messages": [{"role": turn.role, "content": _with_thinking(turn)} for turn in example.answered]}

    def registration(self, files: Mapping[str, Path], beside: Path) -> dict[str, str]:
        """Return the part of a configuration with the mixture."""
        first = (
            "last_turn_tulu_tokenize_and_truncate_v1" if self.answers == "last" else "sft_tulu_tokenize_and_truncate_v1"
        )
        return {
            f"{name}.open-instruct.yaml": _yaml({
                "dataset_mixer_list": [str(path), "1.0"], "dataset_mixer_list_splits": ["train"],
                "dataset_transform_fn": [first, "sft_tulu_filter_v1"],
            })
            for name, path in files.items()
        }  # fmt: skip


FORMATS: Mapping[TrainerName, type[TrainerFormat]] = {
    "trl": Trl, "llama-factory": LlamaFactory, "axolotl": Axolotl, "open-instruct": OpenInstruct,
}  # fmt: skip
_MOST_NAMED = 3


def format_for(name: TrainerName, examples: Iterable[Example], which: Answers) -> TrainerFormat:
    """Return the form for a trainer in which all of some rows can be written; `which` answers are trained on.

    Raises `GradPrismError` where some cannot, with the first of them: nothing is left out or changed in silence.
    """
    made, problems, rules, n = FORMATS[name], list[str](), {"all", "last"}, 0
    pairs: bool | None = None
    for example in examples:
        n += 1
        pairs = bool(example.rejected) if pairs is None else pairs
        try:
            scored = scored_turns(example, which)
            _refuse_preferences(example, made, pairs)
            made("last").row(example, scored)
        except RowProblemError as problem:
            problems.append(f"row {example.row}: {problem}")
            continue
        fits = rules & _rules_of(example, scored)
        if not fits and not made.tells_answers_apart:
            problems.append(f"row {example.row}: other answers of it are trained on than of the rows before")
        rules = fits or rules
    if problems:
        shown = "\n  ".join(problems[:_MOST_NAMED])
        raise GradPrismError(
            f"{len(problems):,} of {n:,} rows cannot be written for {name}:\n  {shown}\n"
            "Expected rows that its form has room for: leave these out with --where, or out of --for."
        )
    return made("last" if "last" in rules else "all")


def _refuse_preferences(example: Example, made: type[TrainerFormat], pairs: bool) -> None:
    if example.rejected and not made.takes_preferences:
        raise RowProblemError("it has a rejected answer, for which this form has no place")
    if bool(example.rejected) != pairs:
        raise RowProblemError(f"it has {'no' if pairs else 'a'} rejected answer, unlike the rows before")


def scored_turns(example: Example, which: Answers) -> list[int]:
    """Return the positions of the answers that are trained on. Raises `RowProblemError` where there is none."""
    turns = example.answered
    scored = positions_of_scored_answers(turns, which)
    if not scored or all(turn.role == "assistant" for turn in turns[:1]):
        raise RowProblemError("it has no answer to train on" if not scored else "its first turn is an answer")
    return scored


def _rules_of(example: Example, scored: Sequence[int]) -> set[str]:
    answers = [place for place, turn in enumerate(example.answered) if turn.role == "assistant"]
    return {rule for rule, places in (("all", answers), ("last", answers[-1:])) if places == [*scored]}


def _message(turn: Turn) -> dict[str, Any]:
    more = {
        "reasoning_content": turn.thinking,
        "tool_calls": [dict(call) for call in turn.tool_calls],
        "name": turn.name,
        "tool_call_id": turn.tool_call_id,
    }
    return {"role": turn.role, "content": turn.content, **{name: value for name, value in more.items() if value}}


def _with_thinking(turn: Turn) -> str:
    return f"<think>\n{turn.thinking}\n</think>\n\n{turn.content}" if turn.thinking else turn.content


def _refuse_beyond_tools(example: Example) -> None:
    if example.documents or example.template_options:
        raise RowProblemError("it has documents or options of its chat template, for which this form has no place")


def _entries_in(info: Path) -> dict[str, Any]:
    """Return what dataset_info.json holds already. Raises `GradPrismError` where that is no such file."""
    if not info.exists():
        return {}
    try:
        found = json.loads(info.read_text("utf-8"))
    except ValueError as error:
        raise GradPrismError(f"{info} is no JSON: {error}. Expected LLaMA-Factory's list of data sets.") from error
    if not isinstance(found, dict):
        raise GradPrismError(f"{info} holds a {type(found).__name__}. Expected LLaMA-Factory's list of data sets.")
    return found


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
