"""Decide how much memory a step may take on the device that it runs on."""

import torch


def room_on(device: torch.device, least: int, share: float) -> int:
    """Return a share of the bytes that are free on a GPU, from `least` to four times that; `least` on other devices.

    A card may have other users, who see the same bytes.
    """
    if device.type != "cuda":
        return least
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own
    return min(max(least, int(share * (torch.cuda.mem_get_info(device)[0] + unused))), 4 * least)
