"""How fast this machine and GPUs are: what was measured, what runs in a workspace say, and what is assumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import ceil


@dataclass(frozen=True)
class Rate:
    """A number with its unit and where it is from."""

    value: float
    unit: str
    source: str

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)


Rates = Mapping[str, Rate]
"""Rates by name."""

MEASURED: Rates = {
    "network": Rate(45.0, "billion multiply-adds a second of a backbone", "measured: python -m benchmarks.job"),
    "product": Rate(64.0, "billion multiply-adds a second of matrices", "measured: python -m benchmarks.scale"),
    "choice": Rate(1.3, "billion scores a second of which the best are chosen", "measured: python -m benchmarks.scale"),
    "update": Rate(10.0, "GB a second of weights and moments that a step updates", "assumed"),
    "step": Rate(0.006, "seconds a step of training at the least", "measured: python -m benchmarks.job"),
    "network start": Rate(1.0, "seconds to build and compile a network", "measured: python -m benchmarks.job"),
    "start": Rate(4.0, "seconds to load Keras and a recipe's weights", "measured: runs of the demo"),
    "stage": Rate(1.0, "seconds that retrieval, blend or fusion takes at the least", "measured: runs of the demo"),
    "reading": Rate(40.0, "MB of JPEGs a second and core", "measured: python -m benchmarks.input"),
    "rootsift": Rate(0.07, "seconds a photo and core for RootSIFT", "measured: python -m benchmarks.local_features"),
    "pairs": Rate(1000.0, "pairs verified a second and core", "measured: python -m benchmarks.verification"),
    "attention": Rate(0.16, "seconds a step of training DELF's attention", "measured: runs of provence and world"),
    "fitting": Rate(0.002, "seconds a dev query to fit blend or fusion", "measured: runs of the demo"),
    "writing": Rate(5e-6, "seconds an answer written and checked", "measured: python -m benchmarks.scale"),
    "addresses": Rate(57.5, "photos a second by address", "measured, local server: python -m benchmarks.download"),
    "line": Rate(50.0, "MB a second from Kaggle", "assumed"),
}
"""Rates of two CPU cores, where nothing else is said."""


@dataclass(frozen=True)
class Gpu:
    """A GPU's published peak in half precision (10^12 operations a second), GB a second, and GB of memory."""

    name: str
    peak: float
    bandwidth: float
    memory: float


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("t4", 65, 320, 16),
        Gpu("t4x2", 117, 576, 16),  # two of them, at 90 % of twice one: assumed
        Gpu("p100", 18.7, 732, 16),
        Gpu("v100", 112, 900, 16),
        Gpu("l4", 121, 300, 24),
        Gpu("a10", 125, 600, 24),
        Gpu("rtx3090", 71, 936, 24),
        Gpu("rtx4090", 165, 1008, 24),
        Gpu("a100", 312, 1555, 40),
        Gpu("h100", 989, 3350, 80),
    )
}
"""GPUs by name; peaks without sparsity."""
_ON_H200 = "measured, H200: python -m benchmarks.gpu"
GPU_SHARES: Rates = {
    "vgg": Rate(0.45, "share of a GPU's peak that training of VGG reaches", _ON_H200),
    "xception": Rate(0.15, "the same of Xception", _ON_H200),
    "efficientnet": Rate(0.02, "the same of EfficientNets", _ON_H200),
    "mobilenet": Rate(0.02, "the same of MobileNets", "assumed, as EfficientNets"),
    "tinymobilenet": Rate(0.02, "the same of tiny MobileNets", "assumed, as EfficientNets"),
    "": Rate(0.15, "the same of other networks and of matrices", "assumed"),
}
"""Shares of a GPU's peak in half precision, by the beginning of a backbone's name; the last one is any other's."""
GPU_CORES = 4
"""Cores beside the GPU that read photos for it, as in a Kaggle kernel."""
SESSION_HOURS, WEEK_HOURS = 12.0, 30.0
"""Kaggle's limits: of a kernel's run, and of GPU time a week."""


def gpu_share(backbone: str) -> float:
    """Share of a GPU's peak that a backbone reaches: bandwidth, not arithmetic, bounds depthwise convolutions.

    Args:
        backbone: Its name; empty for products of matrices.
    """
    return next(share.value for start, share in GPU_SHARES.items() if backbone.startswith(start))


def runs_needed(hours: float, most: float) -> int:
    """How many runs of at most `most` hours so many hours need."""
    return ceil(hours / most)
