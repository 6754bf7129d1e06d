"""The modules that make the numbers of each step; their digests stand in the step's key.

An edit of their code makes the step's results stale, and those of all steps that need it. tests/test_steps.py finds a
module that computes for a step and is not declared here. Entries of registries name further modules themselves: kinds
of local features (`Kind.code`), fusion rules (`FusionRule.code`), and the providers of backbones.
"""

from __future__ import annotations

from lmk.local.kinds import EXTRACTOR_CODE
from lmk.models.backbones.catalogue import PROVIDERS

_BACKBONES = (
    "lmk.models.backbones.architectures",
    "lmk.models.backbones.build",
    "lmk.models.backbones.catalogue",
    "lmk.models.backbones.efficientnet",
    "lmk.models.backbones.keras_applications",
    "lmk.models.backbones.scaling",
    "lmk.models.backbones.weights",
)
NETWORK_CODE = (
    "lmk.data.headers",
    "lmk.data.images",
    "lmk.data.views",
    *_BACKBONES,
    "lmk.models.dense_views",
    "lmk.models.device",
    "lmk.models.extract",
    "lmk.models.folded",
    "lmk.models.heads",
    "lmk.models.network",
    "lmk.models.pooling",
    "lmk.models.runtimes",
    "lmk.pipeline.features",
)
TRAINING_CODE = (
    "lmk.data.augment",
    "lmk.data.batches",
    "lmk.metrics.metric",
    "lmk.metrics.ranking",
    "lmk.models.batch_metrics",
    "lmk.models.learner",
    "lmk.models.losses",
    "lmk.models.memory",
    "lmk.models.normalization",
    "lmk.models.prediction",
    "lmk.models.schedules",
    "lmk.models.training",
    "lmk.pipeline.networks",
    "lmk.predictions",
    "lmk.retrieval.descriptors",
)
RETRIEVAL_CODE = (
    "lmk.ensemble.tune",
    "lmk.pipeline.described",
    "lmk.pipeline.dev_parts",
    "lmk.pipeline.retrieve",
    "lmk.predictions",
    "lmk.retrieval.descriptors",
    "lmk.retrieval.graph",
    "lmk.retrieval.neighbours",
    "lmk.retrieval.ridge",
    "lmk.retrieval.whitening",
)
PUBLISHED_RETRIEVAL_CODE = (
    "lmk.ensemble.blend_rules",
    "lmk.ensemble.candidates",
    "lmk.ensemble.combine",
    "lmk.pipeline.published",
    "lmk.retrieval.published",
)
SPREAD_CODE = (
    "lmk.ensemble.edges",
    "lmk.ensemble.leads",
    "lmk.ensemble.spread",
    "lmk.ensemble.spreading",
    "lmk.ensemble.tune",
    "lmk.metrics.metric",
    "lmk.metrics.ranking",
    "lmk.pipeline.described",
    "lmk.pipeline.dev_parts",
    "lmk.pipeline.spread",
    "lmk.predictions",
    "lmk.retrieval.graph",
    "lmk.retrieval.neighbours",
    "lmk.retrieval.ridge",
    "lmk.retrieval.whitening",
)
PAIRS_CODE = ("lmk.local.pairs",)
BLEND_CODE = (
    "lmk.ensemble.blend",
    "lmk.ensemble.blend_rules",
    "lmk.ensemble.calibrate",
    "lmk.ensemble.candidates",
    "lmk.ensemble.climb",
    "lmk.ensemble.combine",
    "lmk.ensemble.trials",
    "lmk.ensemble.tune",
    "lmk.metrics.metric",
    "lmk.metrics.ranking",
    "lmk.pipeline.blend",
    "lmk.pipeline.dev_parts",
    "lmk.predictions",
)
DELF_FEATURES_CODE = (*EXTRACTOR_CODE, "lmk.local.delf", "lmk.local.pca")
DELF_CODE = (
    "lmk.data.augment",
    "lmk.data.batches",
    *_BACKBONES,
    "lmk.models.datum",
    "lmk.models.delf.canvas",
    "lmk.models.delf.checkpoint_tensorflow",
    "lmk.models.delf.files",
    "lmk.models.delf.keras_resnet",
    "lmk.models.delf.network",
    "lmk.models.delf.published",
    "lmk.models.delf.receptive",
    "lmk.models.delf.slim_resnet",
    "lmk.models.delf.training",
    "lmk.models.device",
    "lmk.models.extract",
    "lmk.models.folded",
    "lmk.models.runtimes",
    "lmk.models.schedules",
    "lmk.pipeline.delf",
)
COMPARISON_CODE = (
    "lmk.local.captions",
    "lmk.local.compare",
    "lmk.local.evidence",
    "lmk.local.glue",
    "lmk.local.matching",
    "lmk.local.published",
    "lmk.local.ransac",
    "lmk.local.spatial",
    "lmk.local.verify",
)
EVIDENCE_CODE = ("lmk.local.evidence", "lmk.pipeline.verify", "lmk.data.splits")
FUSION_CODE = (
    "lmk.ensemble.fuse",
    "lmk.ensemble.fusion_rules",
    "lmk.ensemble.tune",
    "lmk.metrics.metric",
    "lmk.metrics.ranking",
    "lmk.pipeline.dev_parts",
    "lmk.pipeline.fuse",
    "lmk.predictions",
)


_OF_PROVIDERS: dict[str, tuple[str, ...]] = {
    "efficientnet-lite": ("lmk.models.torch_weights",),
    "vision-transformer": (
        "lmk.models.backbones.hugging_face",
        "lmk.models.backbones.keras_hub",
        "lmk.models.backbones.resampling",
        "lmk.models.backbones.transformer_layers",
        "lmk.models.torch_weights",
    ),
}
"""What providers compute with beside their own module."""


def provider_code(provider: str) -> tuple[str, ...]:
    """Modules that build the networks of a provider of backbones and read their weights."""
    return (PROVIDERS[provider], *_OF_PROVIDERS.get(provider, ()))
