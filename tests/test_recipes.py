"""Recipes in files: read with checks, shown, explained from one place, and carried into kernels."""

import json
import sys
import tomllib
import zipfile
from dataclasses import fields, replace
from io import BytesIO
from pathlib import Path
from typing import get_args

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import lmk.cli.plan
import lmk.cli.recipes
from lmk.cli.app import app
from lmk.cli.complete import recipe_names
from lmk.cli.defaults import _value
from lmk.kaggle import inside
from lmk.kaggle.bundle import bundle_files, pack, recipe_files
from lmk.kaggle.pull import Manifest
from lmk.kaggle.reuse import reuse_command
from lmk.kaggle.templates import make_kernel
from lmk.models import recipe as module
from lmk.models.recipe import Recipe, Stage, differences
from lmk.models.recipe_files import find_recipe, read_recipe
from lmk.models.recipes import RECIPES
from lmk.pipeline.config import config_of
from lmk.util.errors import LmkError
from lmk.util.schema import field_help, read_table, toml_text

ROOT = Path(__file__).parents[1]
BASE = "tinymobilenet-gem"


def written(folder: Path, text: str, name: str = "mine.toml") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def lmk(*words: object) -> str:
    done = CliRunner().invoke(app, [*map(str, words)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_file_overrides_fields_of_its_base_and_is_called_as_it_is(tmp_path):
    path = written(tmp_path, f'base = "{BASE}"\nimage_size = 64\ndescriptor = 32\n')
    recipe, base = read_recipe(path)
    assert base is RECIPES[BASE]
    assert recipe == replace(base, name="mine", image_size=64, descriptor=32, about="", reaches="")
    assert differences(recipe, base) == ["image_size", "descriptor"]


def test_a_file_without_a_base_gives_all_that_has_no_default(tmp_path):
    path = written(
        tmp_path,
        'name = "own"\nbackbone = "mobilenet"\nimage_size = 96\n[[stages]]\nepochs = 2\nlearning_rate = 1\n'
        "[[stages]]\nepochs = 1\nlearning_rate = 1e-4\ntrain_from = 0\nema = 0.9\n",
    )
    stages = (Stage(2, 1.0), Stage(1, 1e-4, train_from=0, ema=0.9))
    assert read_recipe(path) == (Recipe("own", "mobilenet", 96, stages), None)


def test_none_takes_away_what_the_base_has(tmp_path):
    path = written(tmp_path, 'base = "mobilenetv2-gem"\ndescriptor = "none"\n')
    assert find_recipe(str(path)).descriptor is None
    assert RECIPES["mobilenetv2-gem"].descriptor == 256


@pytest.mark.parametrize("name", RECIPES)
def test_what_lmk_shows_of_a_recipe_is_a_file_of_the_same_recipe(name, tmp_path):
    path = written(tmp_path, lmk("recipes", name))
    assert read_recipe(path)[0] == RECIPES[name]


def test_a_file_is_shown_whole_with_what_differs_from_its_base(tmp_path):
    path = written(tmp_path, f'base = "{BASE}"\nimage_size = 64\n')
    lines = lmk("recipes", path).splitlines()
    assert [line for line in lines if f"# {BASE}:" in line] == [f"image_size = 64  # {BASE}: 192"]
    assert len(lines) == len(fields(Recipe)) + 2
    told = json.loads(lmk("recipes", path, "--json"))
    assert told["base"] == BASE and told["differs"] == ["image_size"] and told["recipe"]["image_size"] == 64


WRONG = [
    ("polling = 'gem'", r"there is no field `polling`\. Did you mean 'pooling'\?"),
    ("image_size = 'large'", r"`image_size` is 'large'; it takes: integer ≥ 32"),
    ("image_size = 8", r"`image_size` is 8; it takes: integer ≥ 32"),
    ("image_size = 64.0", r"`image_size` is 64\.0; it takes: integer"),
    ("normalize = 1", r"`normalize` is 1; it takes: true or false"),
    ("dropout = 1", r"`dropout` is 1; it takes: number in \[0, 1\)"),
    ("weight_decay = nan", r"`weight_decay` is nan; it takes: number ≥ 0 or \"none\""),
    ("pooling = 'gen'", r"`pooling` is 'gen'; it takes: \"average\", .*Did you mean 'gem'\?"),
    ("views = 3", r"`views` is 3; it takes: 1, 12 or 22"),
    ("views = 1", r"takes 12 or 22 views, not 1"),
    ("hidden = [0]", r"`hidden\[1\]` is 0; it takes: integer ≥ 1"),
    ("stages = []", r"`stages` is empty"),
    ("stages = [3]", r"`stages\[1\]` is 3; it takes a table of epochs, learning_rate"),
    ("stages = [{ epoch = 3 }]", r"no field `stages\[1\]\.epoch`\. Did you mean 'epochs'\?"),
    ("stages = [{ epochs = 3 }]", r"`stages\[1\]\.learning_rate` is missing; it takes: number > 0"),
    ("loss = 'arcface'", r"the loss `arcface` needs a head cosine or subcentre, not softmax"),
    ("dense = true\npooling = 'max'", r"`dense` views need the pooling `gem`"),
    ("backbone = 'mobilnet'", r"No backbone is named 'mobilnet'\. Did you mean 'mobilenet'\?"),
    ("provider = 'kers'", r"`provider` is 'kers'; it takes keras, .*Did you mean 'keras'\?"),
    ("name = '../up'", r"`name` is '\.\./up'; it takes up to 64 of"),
    ("name = 'mobilenetv2-gem'", r"`name` is that of a recipe of lmk with other fields"),
    ("name = 'mobilenetv2-gem", r"cannot be read as TOML"),
    ("\0", r"cannot be read as TOML"),
]


@pytest.mark.parametrize(("line", "text"), WRONG)
def test_a_wrong_field_is_named_in_one_line(line, text, tmp_path):
    path = written(tmp_path, f'base = "{BASE}"\n{line}\n')
    with pytest.raises(LmkError, match=text) as caught:
        find_recipe(str(path))
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_base_and_a_file_that_are_not_there_are_named_with_the_nearest(tmp_path):
    path = written(tmp_path, 'base = "tinymobilenet-gm"\n')
    with pytest.raises(LmkError, match=r"`base` is 'tinymobilenet-gm'.*Did you mean 'tinymobilenet-gem'\?"):
        read_recipe(path)
    with pytest.raises(LmkError, match=r"There is no recipe file .*min\.toml\. Did you mean '.*mine\.toml'\?"):
        find_recipe(str(tmp_path / "min.toml"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["epochs", "x"]), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([one.name for one in fields(Recipe)]), JSON, max_size=3))
def test_any_table_is_a_recipe_or_one_line(table):
    try:
        recipe = read_table(Recipe, table, RECIPES[BASE])
    except (ValueError, LmkError) as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(recipe.image_size, int) and recipe.image_size >= 32


def test_names_that_recipes_take_are_those_of_the_registries():
    from lmk.models.heads import HEADS
    from lmk.models.losses import LOSSES
    from lmk.models.pooling import POOLINGS

    assert get_args(module.HeadName) == tuple(HEADS)
    assert get_args(module.LossName) == LOSSES
    assert set(get_args(module.Pooling)) == {*POOLINGS, "flatten"}
    assert {name for name, head in HEADS.items() if head.centres} == set(module.COSINE_HEADS)


@pytest.mark.parametrize("cls", [Recipe, Stage])
def test_each_field_is_explained_by_its_class_alone(cls):
    known = field_help(cls)
    assert [one.name for one in known] == [one.name for one in fields(cls)]
    for one in known:
        assert len(one.about) > 15 and one.about[0].isupper() and one.about.endswith("."), one
    shown = " ".join(lmk("recipes", "--fields").split())
    assert all(one.about in shown and one.takes in shown for one in known)


def test_the_page_on_recipes_has_the_fields_as_they_are():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import write_recipes

        text = write_recipes.PAGE.read_text(encoding="utf-8")
        assert write_recipes.page(text) == text, "run `python docs/write_recipes.py`"
    finally:
        sys.path.remove(str(ROOT / "docs"))


@given(st.floats(1e-9, 1e9) | st.integers(0, 10**6) | st.booleans() | st.tuples(st.integers(1, 9)))
def test_values_are_written_as_toml_reads_them(value):
    found = tomllib.loads(f"x = {toml_text(value)}")["x"]
    assert (tuple(found) if isinstance(found, list) else found) == value


def test_results_belong_to_the_fields_and_not_to_the_file(tmp_path):
    text = f'base = "{BASE}"\nimage_size = 64\nstages = [{{ epochs = 2, learning_rate = 1 }}]\n'
    here, there = written(tmp_path / "a", text), written(tmp_path / "b", text + 'pooling = "gem"\nabout = "x"\n')
    (first,), (second,) = config_of([str(here)]).recipes, config_of([str(there)]).recipes
    assert first.key() == second.key()
    assert len(config_of([str(here), str(there)]).recipes) == 1
    same = written(tmp_path, f'base = "{BASE}"\n', f"{BASE}.toml")
    assert find_recipe(str(same)).key() == RECIPES[BASE].key()


def test_two_recipes_of_one_name_and_one_named_as_a_stage_are_refused(tmp_path):
    first = written(tmp_path / "a", f'base = "{BASE}"\nimage_size = 64\n')
    second = written(tmp_path / "b", f'base = "{BASE}"\nimage_size = 96\n')
    with pytest.raises(LmkError, match="another recipe of this run is named mine"):
        config_of([str(first), str(second)])
    with pytest.raises(LmkError, match="a stage of every run is named ensemble"):
        config_of([str(written(tmp_path, f'base = "{BASE}"\n', "ensemble.toml"))])


def test_stages_cannot_be_names_of_recipes():
    from lmk.pipeline import config, recording, steps

    named = {steps.RETRIEVAL, steps.ENSEMBLE, steps.SPREAD, steps.VERIFICATION, steps.FUSED, steps.SPREAD_FUSED}
    assert set(config.STAGES) == named | {steps.DELF_NETWORK, recording.PHOTOS, recording.SUBMISSION}


def test_files_are_completed_beside_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, "", "tiny-own.toml")
    written(tmp_path, "", "lmk.toml")
    written(tmp_path / "recipes", "", "other.toml")
    assert [name for name, _ in recipe_names("tiny")] == ["tinymobilenetv2-gem", BASE, "tiny-own.toml"]
    assert recipe_names("./r") == [("./recipes/", "folder")]
    assert recipe_names("recipes/") == [("recipes/other.toml", "recipe file")]
    assert recipe_names("absent/") == []


def test_a_setting_names_a_file_beside_it(tmp_path):
    command = typer.main.get_command(app).commands["plan"]
    option = next(one for one in command.params if one.name == "recipe")
    assert _value(option, ["./mine.toml", BASE, "own.toml"], tmp_path) == [
        str(tmp_path / "mine.toml"),
        BASE,
        str(tmp_path / "own.toml"),
    ]


def test_a_kernel_carries_its_recipe_file_and_names_its_copy(tmp_path, monkeypatch):
    made = make_kernel(
        tmp_path,
        "own",
        "submission",
        ["mine.toml", BASE],
        "tiny-landmarks",
        ["a/b"],
        True,
        (),
        {"mine.toml": "x = 1\n"},
    )
    script = (made.folder / "own.py").read_text()
    assert f'RECIPES = [bundled("mine.toml"), "{BASE}"]' in script and "attached, bundled, leave" in script
    assert [path.name for path in recipe_files(made.folder)] == ["mine.toml"]

    files = bundle_files(made.folder / "own.py")
    assert files["recipes/mine.toml"] == b"x = 1\n"
    folder = tmp_path / "unpacked"
    zipfile.ZipFile(BytesIO(pack({name: data for name, data in files.items() if "recipes/" in name}))).extractall(
        folder
    )
    monkeypatch.setattr(inside, "_recipes_folder", lambda: folder / "recipes")
    path = inside.bundled("mine.toml")
    assert Path(path).read_text() == "x = 1\n"
    with pytest.raises(LmkError, match=r"absent\.toml was not pushed with this kernel \(recipe files: mine\.toml\)"):
        inside.bundled("absent.toml")
    command = inside._portable(["make-submission", "--recipe", path])
    assert command == ["make-submission", "--recipe", "recipe:mine.toml"]
    manifest = Manifest("own", "", "c", [], "", "", {}, {}, [command])
    assert reuse_command(manifest, [], None, tmp_path) == f"lmk make-submission --recipe {made.folder / 'mine.toml'}"
