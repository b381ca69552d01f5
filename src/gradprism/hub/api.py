"""Push a run or a selection to the hub as a data set, and open a run from there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gradprism.core.errors import GradPrismError, first_line
from gradprism.files.paths import is_remote, to_path
from gradprism.files.storage_errors import without_secrets
from gradprism.hub.card import run_card, selection_card
from gradprism.runs.integrity import check
from gradprism.runs.layout import OPTIONAL_TABLES, RUN_FILE, TABLES
from gradprism.runs.run import Run, open_run

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

SCHEME = "hub://"
_RUN_FILES = (RUN_FILE, "recipe.yaml", "*/part-*.parquet", "scores/*/*.json", "scores/*/*.yaml", "scores/*/*.parquet")


@dataclass(frozen=True)
class Pushed:
    """A repository that was pushed to: its address, the commit, and the number of files."""

    url: str
    commit: str
    files: int


def push(given: str | Path | Run, repo: str, *, public: bool = False, token: str | None = None) -> Pushed:
    """Push a run, or the file of a selection with its card, to a data set repository of the hub.

    `given`: a run, or FILE.jsonl or FILE.parquet that `gradprism select` wrote. `repo`: OWNER/NAME, made if it is not
    there, private unless `public`. The card says what was measured; each table is a configuration that the hub's viewer
    shows. A run holds no texts of its data, a selection does. Files of a run that was pushed there before are removed
    in the same commit. Raises `GradPrismError`.
    """
    path = given.path if isinstance(given, Run) else to_path(given)
    if is_remote(path):
        raise GradPrismError(f"Given {path}. Expected a run or file on a disk: copy it first.")
    with _of_hub(repo):
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        if (path / RUN_FILE).is_file():
            files, card = _files_of_run(path), run_card(open_run(path), repo)
        elif path.is_file():
            files, card = {path.name: path}, selection_card(path)
        else:
            raise GradPrismError(f"No run at {path}, and no file of a selection. Expected what gradprism has written.")
        api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
        with TemporaryDirectory() as folder:
            readme = Path(folder) / "README.md"
            readme.write_text(card, encoding="utf-8")
            done = _commit(api, repo, {**files, "README.md": readme})
    return Pushed(f"{api.endpoint}/datasets/{repo}", str(done.oid), len(files) + 1)


def open_hub(uri: str, out: str | Path | None = None, *, token: str | None = None) -> Run:
    """Fetch a run that was pushed, and open it once every file of it is found whole.

    `uri`: hub://OWNER/NAME, with @REVISION for a branch or commit. `out`: the folder to write it into; the cache of the
    hub's client where None. Raises `GradPrismError` where it is not there, is no run, or is damaged.
    """
    repo, _, revision = uri.removeprefix(SCHEME).partition("@")
    if not uri.startswith(SCHEME) or repo.count("/") != 1:
        raise GradPrismError(f"Given {uri!r}. Expected {SCHEME}OWNER/NAME, or {SCHEME}OWNER/NAME@REVISION.")

    def fetch(folder: Path | None) -> Path:
        with _of_hub(repo):
            from huggingface_hub import snapshot_download

            found = Path(snapshot_download(repo, repo_type="dataset", revision=revision or None, token=token,
                                           local_dir=folder))  # fmt: skip
        _refuse_unless_whole(found, uri)
        return found

    if out is None:
        return open_run(fetch(None))
    target = to_path(out)
    if is_remote(target) or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        what = "holds a run already" if (target / RUN_FILE).exists() else "is no new folder on a disk"
        raise GradPrismError(f"--out {out} {what}. Expected a new folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".open-", dir=target.parent) as beside:
        found = fetch(Path(beside) / "run")
        shutil.rmtree(found / ".cache", ignore_errors=True)  # of the hub's client
        if target.exists():
            target.rmdir()
        found.rename(target)
    return open_run(target)


def _refuse_unless_whole(found: Path, uri: str) -> None:
    if not (found / RUN_FILE).is_file():
        raise GradPrismError(
            f"{uri} holds no run: there is no {RUN_FILE} in it. Expected one that gradprism push made."
        )
    if faults := check(found).faults:
        lines = [f"  {each.file.relative_to(found)}: {each.problem}" for each in faults[:5]]
        raise GradPrismError(f"The run at {uri} is not whole:\n" + "\n".join(lines))


def _files_of_run(run: Path) -> dict[str, Path]:
    found = {file for pattern in _RUN_FILES for file in run.glob(pattern) if file.is_file()}
    return {file.relative_to(run).as_posix(): file for file in sorted(found)}


def _is_of_a_run(file: PurePosixPath) -> bool:
    """Return whether a file of a repository with a run is of the run: folders of other names are its owner's."""
    own = len(file.parts) == 1 or file.parts[0] in (*TABLES, *OPTIONAL_TABLES, "scores")
    return own and any(map(file.match, _RUN_FILES))


def _commit(api: "HfApi", repo: str, files: dict[str, Path]) -> "CommitInfo":
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    there = api.list_repo_files(repo, repo_type="dataset")
    stale = [name for name in there if name not in files and RUN_FILE in there and _is_of_a_run(PurePosixPath(name))]
    removed = [CommitOperationDelete(name) for name in stale]
    added = [CommitOperationAdd(name, str(file)) for name, file in files.items()]
    return api.create_commit(repo, [*removed, *added], repo_type="dataset", commit_message="Push from gradprism")


@contextmanager
def _of_hub(repo: str) -> Iterator[None]:
    """Raise what the hub's client raises as `GradPrismError`."""
    try:
        yield
    except GradPrismError:
        raise
    except Exception as error:
        raise GradPrismError(
            f"The hub did not take or give {repo}: {type(error).__name__}: {without_secrets(first_line(error))}\n"
            "Expected OWNER/NAME, and a token that may read or write it: `hf auth login`, or HF_TOKEN."
        ) from error
