"""What a user of the installed package may write; types are checked against it."""

from pathlib import Path

import numpy as np

from lmk.metrics import gap
from lmk.models.recipe import Recipe
from lmk.models.recipes import RECIPES
from lmk.predictions import NO_LANDMARK, Predictions, write_submission
from lmk.util.errors import LmkError

ids = np.array(["a", "b"])
answers = Predictions(ids, np.array([[7], [9]]), np.array([[0.9], [0.4]]))
score: float = gap(np.array(["a", "b"]), np.array([7, NO_LANDMARK]), answers.best, answers.confidence)
recipe: Recipe = RECIPES["mobilenet-gem"]
try:
    write_submission(answers, Path("answers.csv"))
except LmkError as error:
    print(error)
print(score, recipe.giga_macs)
