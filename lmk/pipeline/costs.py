"""Cost of a step, and the work of networks that it is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from lmk.models.recipe import Recipe
from lmk.pipeline.rates import GPU_CORES, Gpu, Rates, gpu_share

PROCESS = 0.8e9
"""Bytes of a process with its libraries."""


@dataclass(frozen=True)
class Cost:
    """Cost of a step.

    Attributes:
        step: Its name.
        stage: The stage under which a run counts its seconds.
        seconds: On this machine, without a GPU.
        gpu_seconds: With the GPU; 0 of what no GPU helps.
        disk: Bytes that stay.
        scratch: Bytes on the disk beside them while it runs: arrays that are too large for memory.
        memory: Bytes at the same time, at most.
        scaled_by: The run by which `seconds` is scaled, empty where it is the rates' alone.
    """

    step: str
    stage: str
    seconds: float
    gpu_seconds: float = 0.0
    disk: float = 0.0
    scratch: float = 0.0
    memory: float = PROCESS
    scaled_by: str = ""

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Work:
    """Work of networks: multiply-adds of backbones, the same over the share of its peak that a GPU reaches in them,
    multiply-adds of matrices, bytes updated, scores, photos read, and seconds that no GPU makes fewer."""

    network: float = 0.0
    on_gpu: float = 0.0
    product: float = 0.0
    scores: float = 0.0
    updated: float = 0.0
    read: float = 0.0
    fixed: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            *(mine + theirs for mine, theirs in zip(asdict(self).values(), asdict(other).values(), strict=True))
        )

    def seconds(self, rates: Rates) -> float:
        """Seconds on two cores; photos are read beside the work of networks."""
        network = self.network / rates["network"].value / 1e9
        products = self.product / rates["product"].value + self.scores / rates["choice"].value
        return self.fixed + network + (products + self.updated / rates["update"].value) / 1e9

    def gpu_seconds(self, rates: Rates, gpu: Gpu, kilobytes: float) -> float:
        """Seconds on a GPU, or as long as the cores beside it need to read the photos."""
        computing = (self.on_gpu + self.product / gpu_share("")) / (gpu.peak * 1e12 / 2)
        computing += self.updated / gpu.bandwidth / 1e9 + self.scores / rates["choice"].value / 1e9
        reading = self.read * kilobytes / 1e3 / rates["reading"].value / GPU_CORES
        return self.fixed + max(computing, reading)


def work_of_passes(backbone: str, multiply_adds: float, read: float = 0.0) -> Work:
    """Work of a backbone's passes over photos that are read for them."""
    return Work(network=multiply_adds, on_gpu=multiply_adds / gpu_share(backbone), read=read)


def work_of_views(recipe: Recipe, photos: float) -> Work:
    """Work of a recipe's backbone on all views of so many photos."""
    return work_of_passes(recipe.backbone, photos * recipe.giga_macs * 1e9, photos)
