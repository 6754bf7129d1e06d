"""Train xception-gem on landmark-recognition-2021.

What `lmk make-submission` reuses at home is left for `lmk kernel pull train-xception-gem`.
The internet is off: a dataset of backbones without their classifier (files named as Keras names them) is attached by
"dataset_sources" in kernel-metadata.json. Name the same files by --weights at home.
"""

from lmk.kaggle.inside import attached, leave, lmk, scratch, weights_folder

COMPETITION = "landmark-recognition-2021"
RECIPE = "xception-gem"

options = ["--competition", attached(COMPETITION), "--workspace", scratch(), "--weights", weights_folder()]
lmk("make-submission", "--recipe", RECIPE, *options)
lmk("ensemble", "--recipe", RECIPE, *options)  # stores the descriptors of all photos, which retrieval at home needs
leave("train-xception-gem", COMPETITION, [RECIPE], scratch())
