"""Settings of the engine: where the work is done."""

from typing import Literal, Self

from pydantic import Field, model_validator

from gradprism.core.settings import Settings


class EngineSettings(Settings):
    """Where the work is done. None of these changes a number beyond rounding."""

    engine: Literal["local", "ray"] = "local"
    """`local`: in this process; `ray`: by workers of a Ray cluster, on one machine or many."""
    address: str | None = None
    """Ray cluster: auto (this machine is part of it) or ray://HEAD:10001; one of its own on this machine otherwise."""
    workers: int | None = Field(default=None, ge=1)
    """Workers, each with the whole model; by itself one a GPU, or one a machine without GPUs."""
    gpus_per_worker: float | None = Field(default=None, ge=0)
    """GPUs of each worker, also a fraction; by itself 1 where the cluster has any."""
    cpus_per_worker: float | None = Field(default=None, gt=0)
    """CPUs of each worker; by itself its share of the machine, or 1 beside a GPU."""

    @model_validator(mode="after")
    def _of_ray_alone(self) -> Self:
        """Options of the cluster do nothing on the local engine."""
        given = sorted(self.model_fields_set - {"engine"}) if self.engine == "local" else []
        if any(getattr(self, name) is not None for name in given):
            raise ValueError(f"{', '.join(given)}: of the Ray engine; add --engine ray")
        return self
