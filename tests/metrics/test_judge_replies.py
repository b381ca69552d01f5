"""Bodies of answers, good and bad; and the file that keeps the good ones."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gradprism.core.errors import GradPrismError
from gradprism.metrics.judge.cache import AnswerCache, key_of
from gradprism.metrics.judge.judge import Answer
from gradprism.metrics.judge.replies import read_reply


def completion(**changes: Any) -> str:
    message = {"role": "assistant", "content": "7\n\nHard."} | changes.pop("message", {})
    return json.dumps({"choices": [{"finish_reason": "stop", "message": message} | changes]})


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (completion(), None),
        (completion(finish_reason=None), None),
        (completion(finish_reason="length"), None),
        (completion(finish_reason="length", message={"content": None}), None),
        (completion(finish_reason="content_filter"), "content filter"),
        (completion(finish_reason="tool_calls"), "did not end by itself"),
        (completion(finish_reason=["stop"]), "did not end by itself"),
        (completion(message={"content": None}), "content is null"),
        (completion(message={"content": ["7"]}), "no text"),
        (completion(message={"content": [{"type": "image_url", "image_url": {}}]}), "no text"),
        (completion(message={"content": [{"type": "text", "text": None}]}), "no text"),
        (completion(message={"content": []}), "empty answer"),
        (completion(message={"content": "  "}), "empty answer"),
        (completion(message={"content": None, "reasoning_content": "perhaps 7"}), "thoughts (reasoning_content)"),
        (completion(message={"content": "", "reasoning": "perhaps 7"}), "thoughts (reasoning) and no answer"),
        (completion(message={"reasoning": "perhaps 7"}), None),
        (completion(finish_reason="length", message={"content": None, "reasoning": "perhaps"}), None),
        (completion(message={"refusal": "I won't."}), "refused"),
        ("", "malformed"), ("null", "malformed"), ("[]", "malformed"), ("{}", "malformed"), ("<html>", "malformed"),
        ('{"choices": []}', "malformed"), ('{"choices": [{}]}', "malformed"), ('{"choices": [null]}', "malformed"),
        ('{"choices": [{"message": null}]}', "malformed"), ("[" * 100_000, "malformed"),
    ],
)  # fmt: skip
def test_bodies(body: str, problem: str | None) -> None:
    answer = read_reply(body)
    assert (answer.problem is None) if problem is None else problem in str(answer.problem)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([{"type": "text", "text": "7"}], "7"),
        ([{"type": "output_text", "text": '["a",'}, {"type": "text", "text": ' "b"]'}], '["a", "b"]'),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "3?"}]}, {"type": "text", "text": "7"}], "7"),
        ([{"type": "reasoning", "text": "3?"}, {"type": "text", "text": "7"}], "7"),
        ([{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "7"}], "7"),
    ],
)  # fmt: skip
def test_of_a_content_in_parts_the_text_is_the_answer(parts: list[dict[str, Any]], text: str) -> None:
    answer = read_reply(completion(message={"content": parts}))
    assert (answer.text, answer.problem) == (text, None)


def test_parts_of_thoughts_alone_are_no_answer() -> None:
    thinking = [{"type": "thinking", "thinking": "perhaps 7"}]
    assert read_reply(completion(message={"content": thinking})).problem == "empty answer"


def test_thoughts_in_a_field_of_their_own_are_not_read() -> None:
    assert read_reply(completion(message={"content": "7", "reasoning_content": "9"})).text == "7"


def test_a_body_with_half_of_a_surrogate_pair_or_odd_usage() -> None:
    assert read_reply(completion(message={"content": "7 \ud800"})).text == "7 ?"
    odd = json.loads(completion()) | {"usage": {"prompt_tokens": "many", "completion_tokens": True}}
    assert read_reply(json.dumps(odd)).n_prompt_tokens is None
    assert read_reply(json.dumps(odd)).n_answer_tokens is None


@pytest.mark.slow  # half a second or more
def test_the_cache_outlives_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "answers.sqlite"
    program = (
        "import os, signal; from pathlib import Path; from gradprism.metrics.judge.cache import AnswerCache;"
        "from gradprism.metrics.judge.judge import Answer; cache = AnswerCache(Path(os.environ['FILE']));"
        "[cache.put(str(n), Answer(f'{n}', 'stop', 1, None)) for n in range(50)];"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", program], env=os.environ | {"FILE": str(file)}, check=False)
    assert ended.returncode == -9
    with AnswerCache(file) as cache:
        for n in range(50):
            assert cache.get(str(n)) == Answer(f"{n}", "stop", 1, None, known=True)
        assert cache.get("50") is None


def test_a_damaged_cache_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "answers.sqlite"
    file.write_bytes(b"this is no database, though it is long enough to be one " * 100)
    with pytest.raises(GradPrismError, match=r"Move it away .*--cache"):
        AnswerCache(file)
    with pytest.raises(GradPrismError, match="--cache"):
        AnswerCache(tmp_path)
    with AnswerCache(tmp_path / "cut") as cache:
        for n in range(200):
            cache.put(str(n), Answer("a" * 500, "stop", 1, 1))
    whole = (tmp_path / "cut").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GradPrismError, match=r"cut is damaged.*\n.*Move it away"):
        read_all(tmp_path / "cut")


def read_all(file: Path) -> None:
    with AnswerCache(file) as cache:
        for n in range(200):
            cache.get(str(n))


@pytest.mark.parametrize(
    "row",
    [
        "'[1]'", "'{'", "''", "7", "x'ff00'", "'null'", "'{\"text\": 7, \"finish_reason\": null, \"usage\": {}}'",
        "'{\"text\": \"7\", \"finish_reason\": [], \"usage\": {\"prompt_tokens\": 1, \"completion_tokens\": 1}}'",
        "printf('%.*c', 100000, '[')", "zeroblob(2000000)",
    ],
)  # fmt: skip
def test_a_damaged_answer_in_the_cache_is_as_none(tmp_path: Path, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradprism.metrics.judge.cache._MOST_BYTES", 10**6)
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        cache.put("whole", Answer("7", "stop", 1, 2))
        cache._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10**9)
        cache._connection.execute(f"INSERT INTO answers VALUES ('k', {row})")
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        assert cache.get("k") is None
        assert cache.n_damaged == 1
        assert cache.get("whole") == Answer("7", "stop", 1, 2, known=True)
        cache.put("k", Answer("8", "stop", 1, 2))
        assert cache.get("k") == Answer("8", "stop", 1, 2, known=True)


def test_a_cached_answer_with_counts_that_no_column_holds_is_healed(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        cache.put("k", Answer("7 \ud800", "stop", 2**31, -1))
        assert cache.get("k") == Answer("7 ?", "stop", None, None, known=True)


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def test_the_owner_alone_can_read_the_cache(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "answers.sqlite"
    with AnswerCache(file) as cache:
        cache.put("k", Answer("7", "stop", 1, 2))
        assert modes(file.parent) == {file.name + end: 0o600 for end in ("", "-wal", "-shm")}
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        for other in file.parent.iterdir():
            other.chmod(0o644)
        with AnswerCache(file):
            assert modes(file.parent) == {file.name + end: 0o600 for end in ("", "-wal", "-shm")}
    assert modes(file.parent) == {file.name: 0o600}


def test_a_cache_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(GradPrismError, match="it is no file"):
            AnswerCache(place)


def test_the_key_of_a_request_does_not_depend_on_the_order_of_its_fields() -> None:
    assert key_of({"a": 1, "b": "é"}) == key_of({"b": "é", "a": 1}) != key_of({"a": 1, "b": "e"})
