"""Devices of torch."""

import torch


def compute_capability() -> tuple[int, int]:
    """The lowest compute capability among the GPUs, (0, 0) where there is none."""
    count = torch.cuda.device_count()
    return min((torch.cuda.get_device_capability(device) for device in range(count)), default=(0, 0))


def device_memory() -> int:
    """Bytes of the smallest GPU, 0 where there is none."""
    count = torch.cuda.device_count()
    return min((torch.cuda.mem_get_info(device)[1] for device in range(count)), default=0)
