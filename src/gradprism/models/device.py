"""Where a model runs."""

from gradprism.errors import GradPrismError


def find_device(name: str) -> str:
    """`auto` takes the accelerator that is there."""
    import torch

    if name != "auto":
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise GradPrismError(f"--device {name}: {reason}\nExpected auto, cpu, cuda, cuda:1, ...") from error
        return name
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found.type if found else "cpu"
