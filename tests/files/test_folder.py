"""Folders and files under names: one writer at a time, and old or new, never a mixture, never a device replaced."""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from gradprism import GradPrismError
from gradprism.files import folder as folders
from gradprism.files.atomic import target_file, write_whole
from gradprism.files.folder import FolderKind, locked_folder, published_path, written_file, written_folder

KIND = FolderKind("comparison", ("comparison.json",))


def identity(path: Path | str) -> tuple[int, ...]:
    """What makes it the same file, device or link; not when it was last looked at."""
    found = os.lstat(path)
    return found.st_ino, found.st_mode, found.st_rdev, found.st_size, found.st_mtime_ns


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))  # what /dev/null is
    except (PermissionError, AttributeError):
        pytest.skip("making a device needs root")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


NO_FILES: dict[str, Callable[[Path], None]] = {
    "a device": make_device,
    "a named pipe": os.mkfifo,
    "a socket": make_socket,
    "a folder": Path.mkdir,
    "a link that leads to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_file_is_not_replaced(
    kind: str, linked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = Path("out")  # short: names of sockets have at most 107 bytes
    NO_FILES[kind](named)
    if linked:
        named = Path("link")
        named.symlink_to("out")
    before = identity("out")
    for write in (write_whole, lambda target, content: written_file(target, "report").__enter__()):
        with pytest.raises(GradPrismError, match=f"^{named} is {kind}. Expected a file to write"):
            write(named, b"new")
    assert identity("out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"out", named.name})


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "second").symlink_to("link")
    write_whole(tmp_path / "second", b"new")
    assert (tmp_path / "target").read_text() == "new"
    assert [(tmp_path / name).is_symlink() for name in ("second", "link", "target")] == [True, True, False]
    (tmp_path / "early").symlink_to("not there yet")
    with written_file(tmp_path / "early", "report") as file:
        file.write(b"new")
    assert (tmp_path / "not there yet").read_text() == "new"
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_links_in_a_folder_stay_too(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "levels.csv").write_text("old")
    out.mkdir()
    (out / "levels.csv").symlink_to(elsewhere / "levels.csv")
    (out / "tables").symlink_to(elsewhere)
    with written_folder(out, FolderKind("figures")) as new:
        (new / "tables").mkdir()
        for name in ("levels.csv", "tables/effects.csv"):
            (new / name).write_text("new")
    assert (out / "levels.csv").is_symlink()
    assert [path.read_text() for path in sorted(elsewhere.iterdir())] == ["new", "new"]


def test_a_folder_may_be_a_link_to_one_that_is_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("later")
    write_all(tmp_path / "link", "new")
    assert seen(tmp_path / "later") == {"new"}
    assert (tmp_path / "link").is_symlink()


def test_a_link_to_another_disk_is_followed(tmp_path: Path) -> None:
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other disk here")
    target = other / f"gradprism-{os.getpid()}"
    try:
        (tmp_path / "levels.csv").symlink_to(target)
        with written_folder(tmp_path, FolderKind("figures")) as new:
            (new / "levels.csv").write_text("new")
        assert target.read_text() == "new"
        assert (tmp_path / "levels.csv").is_symlink()
    finally:
        target.unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["x" * 250, "x" * 300, "file/below"])
def test_names_that_no_disk_takes_are_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GradPrismError, match=r"^Cannot write the "):
        written_file(tmp_path / name, "report").__enter__()


def test_a_file_where_a_folder_is_expected(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(GradPrismError, match=r"file is no folder\. Expected --out to be a folder"):
        written_folder(tmp_path / "file", KIND).__enter__()
    with pytest.raises(GradPrismError, match=r"^Cannot write the comparison"):
        written_folder(tmp_path / "file" / "below", KIND).__enter__()
    assert (tmp_path / "file").read_text() == "mine"


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(GradPrismError, match=r"is not a comparison \(it holds mine.txt, no comparison.json\)"):
        written_folder(tmp_path, KIND).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


class Stopped(Exception):  # noqa: N818
    pass


def write_all(out: Path, text: str) -> None:
    with written_folder(out, KIND) as new:
        (new / "figures").mkdir()
        for name in ("levels.csv", "figures/one.svg", "comparison.json"):
            (new / name).write_text(text)


def seen(out: Path) -> set[str]:
    return {published_path(out, name).read_text() for name in ("levels.csv", "figures/one.svg", "comparison.json")}


@pytest.mark.parametrize("moved", range(4))
def test_killed_while_files_are_moved_it_is_the_new_one(
    moved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever number of files had been moved, by the first writer of a folder or a later one."""
    for before in ("nothing", "old"):
        out = tmp_path / before
        if before == "old":
            write_all(out, "old")
            (out / "mine.txt").write_text("mine")
        with monkeypatch.context() as patch, suppress(Stopped):
            patch.setattr(Path, "replace", stopping(Path.replace, moved))
            patch.setattr(folders.shutil, "rmtree", stopping(folders.shutil.rmtree, 1))
            write_all(out, "new")
        assert seen(out) == {"new"}
        write_all(out, "newest")
        assert seen(out) == {"newest"}
        names = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
        assert names - {"mine.txt"} == {"levels.csv", "figures/one.svg", "comparison.json"}
        assert (out / "mine.txt").exists() == (before == "old")


def stopping(call: Callable[..., Any], after: int) -> Callable[..., Any]:
    """A function that is killed at a call, and stays so."""
    left = [after]

    def counted(*given: Any, **named: Any) -> Any:
        if not left[0]:
            raise Stopped
        left[0] -= 1
        return call(*given, **named)

    return counted


def test_killed_before_all_is_there_it_is_the_old_one(tmp_path: Path) -> None:
    write_all(tmp_path, "old")
    left = tmp_path / ".writing"  # as a kill leaves it
    left.mkdir()
    (left / "levels.csv").write_text("half")
    assert seen(tmp_path) == {"old"}
    with pytest.raises(ZeroDivisionError), written_folder(tmp_path, KIND) as new:
        (new / "levels.csv").write_text(str(1 // 0))
    assert seen(tmp_path) == {"old"}
    assert not left.exists()


def test_a_name_that_cannot_be_written_is_found_before_any_file_is_moved(tmp_path: Path) -> None:
    write_all(tmp_path, "old")
    (tmp_path / "levels.csv").unlink()
    os.mkfifo(tmp_path / "levels.csv")
    with pytest.raises(GradPrismError, match=r"levels\.csv is a named pipe"):
        write_all(tmp_path, "new")
    assert (tmp_path / "comparison.json").read_text() == "old"


def test_a_second_writer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "WAIT_SECONDS", 0)
    with locked_folder(tmp_path, KIND, wait=0):
        with pytest.raises(GradPrismError, match=r"^Another process is writing the comparison .+ Wait for it, or"):
            locked_folder(tmp_path, KIND, wait=0).__enter__()
        with locked_folder(tmp_path, KIND, name="rows.jsonl", wait=0):
            pass  # another name in it is free
    assert not [*tmp_path.iterdir()]


def test_two_writers_at_once_wait_for_each_other(tmp_path: Path) -> None:
    texts, problems = [str(number) * 50_000 for number in range(6)], list[Exception]()

    def write(text: str) -> None:
        try:
            write_all(tmp_path / "folder", text)
            with written_file(tmp_path / "file", "report") as file:
                for letter in text:
                    file.write(letter.encode())
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert len(seen(tmp_path / "folder")) == 1
    assert (tmp_path / "file").read_text() in texts
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"levels.csv", "figures", "comparison.json"}


def test_a_null_character_is_in_no_path() -> None:
    from gradprism.files.paths import to_path

    with pytest.raises(GradPrismError, match="holds a null character"):
        to_path("a\0b")


def test_an_object_has_any_name() -> None:
    from gradprism.files.paths import to_path

    with ExitStack() as stack:
        target = to_path("memory://bucket/one")
        assert target_file(target) is target
        stack.enter_context(written_file(target, "report")).write(b"new")
    assert target.read_bytes() == b"new"
