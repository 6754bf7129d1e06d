"""A run's configuration from its record, with its recipes as they were: image size, views and epochs included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lmk.models.recipe import Recipe, Stage
from lmk.pipeline.config import Config
from lmk.runs import RunRecord
from lmk.util.errors import LmkError, reason_of


def config_of_run(record: RunRecord) -> Config:
    """The configuration that a run recorded.

    Raises:
        LmkError: It is of another version of lmk.
    """
    settings = dict(record.settings)
    try:
        recipes = tuple(_recipe(settings["recipe_fields"][name], name) for name in settings["recipes"])
        known = {field.name for field in fields(Config)} - {"recipes", "accepted"}
        return Config(recipes, **{name: value for name, value in settings.items() if name in known})
    except (KeyError, TypeError) as error:
        raise LmkError(
            f"{record.run} was made by another version of lmk ({reason_of(error)}). Run it again: {record.command}"
        ) from error


def _recipe(values: Mapping[str, Any], name: str) -> Recipe:
    stages = tuple(Stage(**stage) for stage in values["stages"])
    return Recipe(**{**values, "name": name, "stages": stages, "hidden": tuple(values["hidden"])})
