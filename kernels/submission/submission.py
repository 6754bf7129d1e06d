"""Make the submission to landmark-recognition-2021 with efficientnet-gem, mobilenetv2-gem.

The scored run sees other photos and a part of the landmarks: everything is read from the attached competition, and
no landmark is answered that its train.csv lacks. `lmk kernel run submission --rerun` plays that here.
"""

from lmk.kaggle.inside import attached, leave, lmk, scratch, weights_folder, working

COMPETITION = "landmark-recognition-2021"
RECIPES = ["efficientnet-gem", "mobilenetv2-gem"]

options = ["--competition", attached(COMPETITION), "--workspace", scratch(), "--weights", weights_folder()]
recipes = [word for recipe in RECIPES for word in ("--recipe", recipe)]
lmk("make-submission", "--ensemble", *recipes, *options, "--out", working() / "submission.csv")
leave("submission", COMPETITION, RECIPES, scratch())
