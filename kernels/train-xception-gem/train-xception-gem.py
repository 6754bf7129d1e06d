"""Train xception-gem on landmark-recognition-2021.

`lmk kernel train train-xception-gem` runs it in as many sessions as it needs.
What `lmk make-submission` reuses at home is left for `lmk kernel pull train-xception-gem`.
The internet is off: weights of the backbones come from "dataset_sources" or "model_sources" in kernel-metadata.json
(`lmk weights push FOLDER --attach train-xception-gem`).
"""

from lmk.kaggle.inside import attached, lmk, scratch, session, weights_folder

COMPETITION = "landmark-recognition-2021"
RECIPE = "xception-gem"

options = ["--competition", attached(COMPETITION), "--workspace", scratch(), "--weights", weights_folder()]
# Stops before the session's limit, and goes on from what the session before left.
with session("train-xception-gem", COMPETITION, [RECIPE], scratch()):
    lmk("make-submission", "--recipe", RECIPE, *options)
    lmk("ensemble", "--recipe", RECIPE, *options)  # stores all descriptors, which retrieval at home needs
