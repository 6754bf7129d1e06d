"""The scripts that `lmk kernel new` writes: short, to be read and changed."""

from collections.abc import Sequence
from pathlib import Path

from lmk.kaggle.kernels import Kernel, new_kernel
from lmk.util.errors import LmkError, did_you_mean

TRAIN = '''"""Train {recipe} on {competition}.

What `lmk make-submission` reuses at home is left for `lmk kernel pull {name}`.
The internet is off: a dataset of backbones without their classifier (files named as Keras names them) is attached by
"dataset_sources" in kernel-metadata.json. Name the same files by --weights at home.
"""

from lmk.kaggle.inside import attached, leave, lmk, scratch, weights_folder

COMPETITION = "{competition}"
RECIPE = "{recipe}"

options = ["--competition", attached(COMPETITION), "--workspace", scratch(), "--weights", weights_folder()]
lmk("make-submission", "--recipe", RECIPE, *options)
lmk("ensemble", "--recipe", RECIPE, *options)  # stores the descriptors of all photos, which retrieval at home needs
leave("{name}", COMPETITION, [RECIPE], scratch())
'''

DELF = '''"""Train DELF on {competition} and extract its features of all photos.

`lmk make-submission --local-features delf` at home verifies by them after `lmk kernel pull {name}`.
The internet is off: a dataset of backbones without their classifier (files named as Keras names them) is attached by
"dataset_sources" in kernel-metadata.json. Name the same files by --weights at home.
"""

from lmk.kaggle.inside import attached, leave, lmk, scratch, weights_folder

COMPETITION = "{competition}"

options = ["--competition", attached(COMPETITION), "--workspace", scratch(), "--weights", weights_folder()]
lmk("delf", "train", *options)
lmk("delf", "extract", *options)
leave("{name}", COMPETITION, [], scratch())
'''

SUBMISSION = '''"""Make the submission to {competition} with {recipes}.

The scored run sees other photos and a part of the landmarks: everything is read from the attached competition, and
no landmark is answered that its train.csv lacks. `lmk kernel run {name} --rerun` plays that here.
"""

from lmk.kaggle.inside import attached, leave, lmk, scratch, weights_folder, working

COMPETITION = "{competition}"
RECIPES = {recipe_list}

options = ["--competition", attached(COMPETITION), "--workspace", scratch(), "--weights", weights_folder()]
recipes = [word for recipe in RECIPES for word in ("--recipe", recipe)]
lmk("make-submission", "--ensemble", *recipes, *options, "--out", working() / "submission.csv")
leave("{name}", COMPETITION, RECIPES, scratch())
'''

KINDS = ("train", "delf", "submission")


def make_kernel(
    root: Path, name: str, kind: str, recipes: Sequence[str], competition: str, datasets: Sequence[str], gpu: bool
) -> Kernel:
    """Make a kernel of one of `KINDS`, with datasets ("owner/slug") attached and a GPU or not.

    Raises:
        LmkError: The kind is unknown, a recipe is missing, or the name is taken.
    """
    if kind not in KINDS:
        raise LmkError(f"No kind of kernel is named '{kind}'; there are {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}")
    wanted = {"train": "one recipe", "delf": "no recipe", "submission": "one recipe or more"}[kind]
    if not {"train": len(recipes) == 1, "delf": not recipes, "submission": bool(recipes)}[kind]:
        raise LmkError(f"A kernel of kind {kind} takes {wanted} (--recipe NAME; `lmk recipes` lists them).")
    values = {
        "name": name,
        "competition": competition,
        "recipe": "".join(recipes[:1]),
        "recipes": ", ".join(recipes),
        "recipe_list": "[" + ", ".join(f'"{recipe}"' for recipe in recipes) + "]",
    }
    script = {"train": TRAIN, "delf": DELF, "submission": SUBMISSION}[kind].format(**values)
    return new_kernel(root, name, script, competition, dataset_sources=list(datasets), enable_gpu=gpu)
