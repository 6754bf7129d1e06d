"""The scripts that `lmk kernel new` writes: short, to be read and changed."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmk.kaggle.kernels import Kernel, new_kernel
from lmk.kaggle.weights import DATASET
from lmk.util.errors import LmkError, UsageError, did_you_mean

TRAIN = '''"""Train {recipes} on {competition}.

`lmk kernel train {name}` runs it in as many sessions as it needs.
What `lmk make-submission` reuses at home is left for `lmk kernel pull {name}`.
The internet is off: weights of the backbones come from "dataset_sources" or "model_sources" in kernel-metadata.json
(`lmk weights push FOLDER --attach {name}`).
"""

from lmk.kaggle.inside import attached, {bundled}lmk, scratch, session, weights_folder

COMPETITION = "{competition}"
RECIPE = {recipe}

options = ["--competition", attached(COMPETITION), "--workspace", scratch(), "--weights", weights_folder()]
# Stops before the session's limit, and goes on from what the session before left.
with session("{name}", COMPETITION, [RECIPE], scratch()):
    lmk("make-submission", "--recipe", RECIPE, *options)
    lmk("ensemble", "--recipe", RECIPE, *options)  # stores all descriptors, which retrieval at home needs
'''

DELF = '''"""Train DELF on {competition} and extract its features of all photos.

`lmk make-submission --local-features delf` at home verifies by them after `lmk kernel pull {name}`.
The internet is off: weights of the backbones come from "dataset_sources" or "model_sources" in kernel-metadata.json
(`lmk weights push FOLDER --attach {name}`).
"""

from lmk.kaggle.inside import attached, lmk, scratch, session, weights_folder

COMPETITION = "{competition}"

options = ["--competition", attached(COMPETITION), "--workspace", scratch(), "--weights", weights_folder()]
# Stops before the session's limit, and goes on from what the session before left.
with session("{name}", COMPETITION, [], scratch()):
    lmk("delf", "train", *options)
    lmk("delf", "extract", *options)
'''

SUBMISSION = '''"""Make the submission to {competition} with {recipes}.

The scored run sees other photos and a part of the landmarks: everything is read from the attached competition, and
no landmark is answered that its train.csv lacks. `lmk kernel run {name} --rerun` plays that here.
"""

from lmk.kaggle.inside import attached, {bundled}leave, lmk, scratch, weights_folder, working

COMPETITION = "{competition}"
RECIPES = {recipe_list}

options = ["--competition", attached(COMPETITION), "--workspace", scratch(), "--weights", weights_folder()]
recipes = [word for recipe in RECIPES for word in ("--recipe", recipe)]
lmk("make-submission", {how}, *recipes, *options, "--out", working() / "submission.csv")
leave("{name}", COMPETITION, RECIPES, scratch())
'''

TWO_T4 = "NvidiaTeslaT4"
"""Kaggle's name of the machine with two T4 of 16 GB each; without it Kaggle chooses a GPU."""
KINDS = ("train", "delf", "submission")


def make_kernel(
    root: Path,
    name: str,
    kind: str,
    recipes: Sequence[str],
    competition: str,
    datasets: Sequence[str],
    gpu: bool,
    models: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
    like: str | None = None,
    weights: Path = Path("FOLDER"),
) -> Kernel:
    """Make a kernel of one of `KINDS`.

    Args:
        root: Folder of kernels.
        name: Name of the kernel.
        kind: One of `KINDS`.
        recipes: Recipes to train or to submit with; a key of `files` for one in a file.
        competition: Slug of the competition that is attached.
        datasets: Datasets with weights, "owner/slug" or a slug of one's own.
        gpu: Run on two T4 GPUs, else on a CPU.
        models: Kaggle models with weights, "owner/model/framework/variation/version".
        files: Text of each recipe file by its name; they are put beside the script and bundled with it.
        like: Published system that a submission follows, as `--like` takes it; None for lmk's own way.
        weights: Folder here whose weights could be sent, for the error where none are attached.

    Raises:
        UsageError: The kind is unknown, a recipe is missing, or a published system is asked for by a kernel of another
            kind or with several recipes.
        LmkError: Weights are missing, or the name is taken.
    """
    if kind not in KINDS:
        raise UsageError(
            f"No kind of kernel is named '{kind}'; there are {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}"
        )
    wanted = {"train": "one recipe", "delf": "no recipe", "submission": "one recipe or more"}[kind]
    if not {"train": len(recipes) == 1, "delf": not recipes, "submission": bool(recipes)}[kind]:
        raise UsageError(f"A kernel of kind {kind} takes {wanted} (--recipe NAME; `lmk recipes` lists them).")
    if like is not None and (kind != "submission" or len(recipes) > 1):
        raise UsageError(f"--like {like} goes with --kind submission and one recipe.")
    files = files or {}
    words = [f'bundled("{recipe}")' if recipe in files else f'"{recipe}"' for recipe in recipes]
    values = {
        "how": '"--ensemble"' if like is None else f'"--like", "{like}"',
        "name": name,
        "competition": competition,
        "recipe": "".join(words[:1]),
        "recipes": ", ".join(recipes),
        "recipe_list": f"[{', '.join(words)}]",
        "bundled": "bundled, " if files else "",
    }
    script = {"train": TRAIN, "delf": DELF, "submission": SUBMISSION}[kind].format(**values)
    if not datasets and not models:
        raise LmkError(
            f"Kernel {name} would have no weights, and must fail: the internet is off, and they are too large for the "
            f"script. Run `lmk weights push {shlex.quote(str(weights))}` and then this command with --dataset "
            f"{DATASET}; or add --model OWNER/MODEL/FRAMEWORK/VARIATION/VERSION."
        )
    settings: dict[str, object] = {"dataset_sources": list(datasets), "model_sources": list(models), "enable_gpu": gpu}
    if gpu:
        settings["machine_shape"] = TWO_T4
    made = new_kernel(root, name, script, competition, **settings)
    for file, text in files.items():
        (made.folder / file).write_text(text, encoding="utf-8")
    return made
