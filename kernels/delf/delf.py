"""Train DELF on landmark-recognition-2021 and extract its features of all photos.

`lmk make-submission --local-features delf` at home verifies by them after `lmk kernel pull delf`.
The internet is off: a dataset of backbones without their classifier (files named as Keras names them) is attached by
"dataset_sources" in kernel-metadata.json. Name the same files by --weights at home.
"""

from lmk.kaggle.inside import attached, leave, lmk, scratch, weights_folder

COMPETITION = "landmark-recognition-2021"

options = ["--competition", attached(COMPETITION), "--workspace", scratch(), "--weights", weights_folder()]
lmk("delf", "train", *options)
lmk("delf", "extract", *options)
leave("delf", COMPETITION, [], scratch())
