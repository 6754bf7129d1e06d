"""The recipes that come with lmk, by name."""

from __future__ import annotations

from dataclasses import replace

from lmk.models.recipe import HEAD_ONLY, Recipe, Stage

_HEAD_ON_STORED_VIEWS = Stage(epochs=20, learning_rate=2e-3, batch_size=256, steps=2000)
"""2,000 steps of 256 are 512,000 views: all of 42,000 photos of 12 views. Larger competitions are not shown more."""

_FROZEN = Recipe(
    name="",
    backbone="",
    image_size=352,
    stages=(_HEAD_ON_STORED_VIEWS,),
    normalize=True,
    dropout=0.5,
    optimizer="adamw",
    weight_decay=0.5,
    views=12,
    dense=True,
)

_MARGIN = replace(_FROZEN, head="cosine", loss="arcface", descriptor=256)

_TRANSFORMER = replace(_MARGIN, image_size=224, pooling="average", dense=False)
"""Its views are crops: windows of one feature map would share the class token, which saw the whole photo."""

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="vgg16-bottleneck",
            backbone="vgg16",
            image_size=128,
            pooling="flatten",
            hidden=(256,),
            dropout=0.5,
            stages=(
                Stage(epochs=20, learning_rate=1e-3, batch_size=128),
                Stage(epochs=10, learning_rate=1e-4, train_from=15, batch_size=32, patience=3),
            ),
            views=12,
            about="stored bottleneck features, a small top model, then block 5 with augmentation",
            reaches="80 % validation accuracy on the 2018 edition, says the blog that published it; no GAP",
        ),
        Recipe(
            name="xception-gem",
            backbone="xception",
            image_size=299,
            dropout=0.05,
            head="sigmoid",
            loss="rank-bce",
            background="zero",
            stages=(
                Stage(epochs=10, learning_rate=1e-3, batch_size=128),
                Stage(epochs=12, learning_rate=1e-4, train_from=85, warmup=1, patience=4),
            ),
            vote="vote",
            about="learned GeM, a sigmoid a landmark, rank-weighted BCE; the head, then blocks 10 to 14",
            reaches="GAP 0.149 (private, 2018) as its author trained it",
        ),
        Recipe(
            name="mobilenetv2-tuned",
            backbone="mobilenetv2",
            image_size=160,
            normalize=True,
            dropout=0.5,
            head="cosine",
            loss="arcface",
            descriptor=256,
            optimizer="adamw",
            weight_decay=0.5,
            stages=(
                _HEAD_ON_STORED_VIEWS,
                Stage(epochs=4, learning_rate=5e-4, train_from=0, batch_size=32, warmup=1, weight_decay=0.01),
            ),
            views=12,
            about="for a CPU with an hour or two: MobileNetV2, all layers, batch normalization among them",
        ),
        Recipe(
            name="vgg16-published",
            backbone="vgg16",
            image_size=128,
            pooling="flatten",
            hidden=(256,),
            dropout=0.5,
            background="zero",
            distractors=False,
            stages=(
                Stage(epochs=20, learning_rate=1e-3, batch_size=128),
                Stage(epochs=10, learning_rate=1e-4, train_from=15, batch_size=32, patience=3),
            ),
            views=1,
            pixels="unit",
            about="vgg16-bottleneck as the blog has it: pixels / 255, one plain view, no class for distractors",
            reaches="80 % validation accuracy on the 2018 edition, says the blog that published it; no GAP",
        ),
        Recipe(
            name="xception-published",
            backbone="xception",
            image_size=299,
            dropout=0.05,
            head="softmax",
            loss="rank-bce-published",
            background="zero",
            stages=(
                Stage(epochs=10, learning_rate=1e-3, batch_size=128, train_from=HEAD_ONLY),
                Stage(epochs=12, learning_rate=1e-4, train_from=85, patience=4),
                Stage(epochs=4, learning_rate=1e-5, train_from=25, patience=2),
            ),
            vote="vote",
            about="xception-gem as its notebook has it: a softmax under the published loss, an exponent that learns "
            "from the first stage on; the head, then layers from 85 on, then from 25 on",
            reaches="GAP 0.149 (private, 2018) as its author trained it",
        ),
        Recipe(
            name="efficientnet-noisy-student",
            backbone="efficientnetb0",
            image_size=224,
            dropout=0.2,
            stages=(
                Stage(epochs=10, learning_rate=1e-3, batch_size=128),
                Stage(epochs=12, learning_rate=2e-4, train_from=0, warmup=1, backbone_factor=0.3, patience=4),
            ),
            provider="efficientnet",
            about="efficientnet-gem built by the package efficientnet: its noisy-student weights where the folder of "
            "--weights holds them, else ImageNet's",
        ),
        Recipe(
            name="efficientnet-gem",
            backbone="efficientnetb0",
            image_size=224,
            dropout=0.2,
            stages=(
                Stage(epochs=10, learning_rate=1e-3, batch_size=128),
                Stage(epochs=12, learning_rate=2e-4, train_from=0, warmup=1, backbone_factor=0.3, patience=4),
            ),
            about="EfficientNet-B0 with learned GeM and a softmax with a background class, all layers",
        ),
        replace(
            _MARGIN,
            name="mobilenetv2-gem",
            backbone="mobilenetv2",
            about="for a CPU: frozen MobileNetV2, an ArcFace head on the stored features of 12 dense views",
        ),
        replace(
            _MARGIN,
            name="mobilenet-gem",
            backbone="mobilenet",
            about="for a CPU: frozen MobileNet, an ArcFace head on the stored features of 12 dense views",
        ),
        replace(
            _MARGIN,
            name="efficientnetlite0-gem",
            backbone="efficientnetlite0",
            about="for a CPU: frozen EfficientNet-Lite0 (by lmk[weights]), an ArcFace head",
        ),
        replace(
            _MARGIN,
            name="efficientnetlite1-gem",
            backbone="efficientnetlite1",
            about="for a CPU: frozen EfficientNet-Lite1 (by lmk[weights]), an ArcFace head",
        ),
        replace(
            _MARGIN,
            name="efficientnetlite2-gem",
            backbone="efficientnetlite2",
            about="for a CPU: frozen EfficientNet-Lite2 (by lmk[weights]), an ArcFace head",
        ),
        replace(
            _TRANSFORMER,
            name="dinov2-base",
            backbone="dinov2base",
            about="for a GPU: frozen DINOv2 ViT-B/14, whose folder --weights names, an ArcFace head on the stored "
            "features of 12 crops; not measured: no real weights were at hand",
        ),
        replace(
            _TRANSFORMER,
            name="dinov2-base-tuned",
            backbone="dinov2base",
            stages=(
                _HEAD_ON_STORED_VIEWS,
                Stage(
                    epochs=4,
                    learning_rate=5e-4,
                    train_from=0,
                    batch_size=32,
                    warmup=1,
                    backbone_factor=0.1,
                    depth_decay=0.5,
                    weight_decay=0.01,
                    steps=2000,
                ),
            ),
            about="dinov2-base, then all its layers at a tenth of the head's rate, the first quarter at an eightieth; "
            "not measured: no real weights were at hand",
        ),
        replace(
            _TRANSFORMER,
            name="siglip2-base",
            backbone="siglip2base",
            about="dinov2-base with SigLIP 2's image tower, B/16; not measured: no real weights were at hand",
        ),
        replace(
            _TRANSFORMER,
            name="dinov3-base",
            backbone="dinov3base",
            about="dinov2-base with DINOv3 ViT-B/16; not measured: no real weights were at hand",
        ),
        replace(
            _FROZEN,
            name="mobilenetv2-softmax",
            backbone="mobilenetv2",
            about="mobilenetv2-gem with a softmax head, which gives probabilities",
        ),
        replace(
            _FROZEN,
            name="mobilenet-softmax",
            backbone="mobilenet",
            about="mobilenet-gem with a softmax head, which gives probabilities",
        ),
        replace(
            _FROZEN,
            name="tinymobilenetv2-gem",
            backbone="tinymobilenetv2",
            image_size=192,
            about="for the demo: MobileNetV2 of width 0.35 that learned from drawn buildings, frozen; a head",
        ),
        replace(
            _FROZEN,
            name="tinymobilenet-gem",
            backbone="tinymobilenet",
            image_size=192,
            about="for the demo: MobileNet of width 0.25 that learned from drawn buildings, frozen; a head",
        ),
    )
}
"""Recipes by name."""
