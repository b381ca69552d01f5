"""What a user's words name: a path, a URL, or nothing that is known."""

import pickle
from pathlib import Path

import pytest

from gradprism import GradPrismError
from gradprism.files.paths import as_remote, is_remote, list_names, names_path, to_path


@pytest.mark.parametrize("named", ["runs/a", "/runs/a", "~/a", "C:\\runs", "owner/name", "a=b/c", "hf://datasets/a/b"])
def test_what_is_no_url_is_a_path_as_before(named: str) -> None:
    assert to_path(named) == Path(named).expanduser()
    assert not is_remote(to_path(named))


def test_a_file_url_is_a_local_path() -> None:
    assert to_path("file:///runs/a%20b") == Path("/runs/a b")


def test_urls_keep_their_slashes_and_can_be_named_again() -> None:
    run = to_path("S3://bucket/some/run/")
    assert str(run) == "s3://bucket/some/run"
    assert to_path(run) == run == to_path(Path("s3://bucket/some/run")) == run.resolve() == run.expanduser()
    assert to_path("s3://bucket/a//b [1]?.jsonl").name == "b [1]?.jsonl"
    assert is_remote(run)
    assert names_path(run)


def test_names_of_a_place() -> None:
    data = to_path("s3://bucket/data/rows.jsonl.gz")
    assert (data.name, data.stem, data.suffix, data.suffixes) == (
        "rows.jsonl.gz",
        "rows.jsonl",
        ".gz",
        [".jsonl", ".gz"],
    )
    assert str(data.with_name("other")) == str(data.parent / "other") == "s3://bucket/data/other"
    whole = to_path("s3://bucket")
    assert whole.name == "bucket"
    assert whole.parent == whole
    assert sorted([to_path("s3://b/b"), to_path("s3://b/a")])[0].name == "a"


def test_a_place_goes_to_another_process() -> None:
    run = to_path("s3://bucket/run")
    assert pickle.loads(pickle.dumps(run)) == run


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://KEY:p4ssw0rd@bucket/run", "holds a password"),
        ("s3://KEY:p4ss/w0rd@bucket/run", "holds a password"),
        ("https://me:p4ssw0rd@host/rows.jsonl", "holds a password"),
        ("https://host/rows.jsonl?token=p4ssw0rd", "a query"),
        ("ftp://me:p4ssw0rd@host/run", "ftp:// is no storage that is known"),
        ("s3:///run", "names no bucket"),
    ],
)
def test_refused_and_no_secret_repeated(url: str, words: str) -> None:
    with pytest.raises(GradPrismError, match=words) as refused:
        to_path(url)
    assert "p4ss" not in str(refused.value)


def test_a_container_of_an_account_is_no_password() -> None:
    assert to_path("abfss://container@account.dfs.core.windows.net/run").name == "run"
    assert to_path("http://localhost:8000/rows.jsonl").name == "rows.jsonl"


def test_a_web_server_is_only_read_from() -> None:
    with pytest.raises(GradPrismError, match="can only be read"):
        to_path("https://host/run").write_bytes(b"")


@pytest.mark.parametrize(("url", "extra"), [("gs://b/run", "gcs"), ("az://b/run", "azure"), ("s3://b/run", "s3")])
def test_a_missing_library_is_named(url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("s3fs", "gcsfs", "adlfs"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(GradPrismError, match=rf"pip install 'gradprism\[{extra}\]'"):
        to_path(url).exists()


def test_folders(tmp_path: Path) -> None:
    assert list_names(tmp_path / "nothing") == []
    (tmp_path / "b").touch()
    (tmp_path / "a").mkdir()
    assert list_names(tmp_path) == ["a", "b"]
    assert list_names(tmp_path / "b") == []


def test_a_store_that_every_process_has_of_its_own() -> None:
    """The part that needs no server: any of fsspec's stores has it."""
    folder = to_path("memory://bucket/folder")
    assert list_names(folder) == []
    (folder / "a").write_bytes(b"0123456789")
    as_remote(folder / "b").create(b"")
    assert list_names(folder) == ["a", "b"]
    assert (folder.is_dir(), (folder / "a").is_file(), (folder / "c").exists()) == (True, True, False)
    with (folder / "a").open("rb") as file:
        assert (file.read(3), file.seek(-2, 2), file.read(), file.read()) == (b"012", 8, b"89", b"")
    (folder / "b").unlink()
    (folder / "b").unlink(missing_ok=True)
    assert list_names(folder) == ["a"]
