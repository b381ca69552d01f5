"""Settings of the engine, which decide where the work runs."""

from typing import Literal, Self

from pydantic import Field, model_validator

from gradprism.core.settings import Settings


class EngineSettings(Settings):
    """The engine and its workers. None of these settings changes a number beyond rounding."""

    engine: Literal["local", "ray"] = "local"
    """`local`: in this process; `ray`: on workers of a Ray cluster, on one machine or many."""
    address: str | None = None
    """Ray cluster: auto (this machine is part of it) or ray://HEAD:10001; by default a new one on this machine."""
    workers: int | None = Field(default=None, ge=1)
    """Number of workers, each with the whole model; by default one per GPU, or one per machine without GPUs."""
    gpus_per_worker: float | None = Field(default=None, ge=0)
    """GPUs of each worker, also a fraction; by default 1 where the cluster has any."""
    cpus_per_worker: float | None = Field(default=None, gt=0)
    """CPUs of each worker; by default its share of the machine, or 1 with a GPU."""

    @model_validator(mode="after")
    def _refuse_options_of_ray(self) -> Self:
        """Refuse options of the cluster on the local engine, where they have no effect."""
        given = sorted(self.model_fields_set - {"engine"}) if self.engine == "local" else []
        if any(getattr(self, name) is not None for name in given):
            raise ValueError(f"{', '.join(given)}: only for the Ray engine; add --engine ray")
        return self
