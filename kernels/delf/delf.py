"""Train DELF on landmark-recognition-2021 and extract its features of all photos.

`lmk make-submission --local-features delf` at home verifies by them after `lmk kernel pull delf`.
The internet is off: weights of the backbones come from "dataset_sources" or "model_sources" in kernel-metadata.json
(`lmk weights push FOLDER --attach delf`).
"""

from lmk.kaggle.inside import attached, lmk, scratch, session, weights_folder

COMPETITION = "landmark-recognition-2021"

options = ["--competition", attached(COMPETITION), "--workspace", scratch(), "--weights", weights_folder()]
# Stops before the session's limit, and goes on from what the session before left.
with session("delf", COMPETITION, [], scratch()):
    lmk("delf", "train", *options)
    lmk("delf", "extract", *options)
