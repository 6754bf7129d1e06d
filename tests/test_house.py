"""Structure of the package: imports run one way, backends stay behind Keras, and the command line starts at once."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lmk
from lmk.cli.commands import COMMANDS as COMMANDS_LISTED
from lmk.cli.commands import build
from lmk.local.kinds import LOCAL_FEATURES
from lmk.pipeline import code_of_steps
from tests import structure
from tests.structure import circles, floors, rooms

ROOT = Path(lmk.__file__).parent
FLOORS = {
    1: {"lmk", "lmk.util"},
    2: {"lmk.predictions", "lmk.runs"},
    3: {"lmk.metrics", "lmk.data", "lmk.demo", "lmk.local", "lmk.retrieval", "lmk.ensemble", "lmk.kaggle"},
    4: {"lmk.models", "lmk.evaluation", "lmk.report", "lmk.shift"},
    5: {"lmk.pipeline"},
    6: {"lmk.cli", "lmk.__main__"},
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
STRANGERS = {
    3: {("lmk.ensemble", "lmk.metrics"), ("lmk.data", "lmk.demo")},
    4: {("lmk.report", "lmk.evaluation")},
}
"""Floors whose rooms do not know each other, but for these."""
BACKENDS = {"tensorflow", "jax", "torch"}
HEAVY = ("tensorflow", "keras", "pandas", "cv2", "kaggle", "numpy", "scipy", "sklearn", "joblib", "pyarrow")
COMMANDS = "make-submission recipes train predict ensemble verify fuse evaluate check"


def modules() -> dict[str, Path]:
    """Every module of lmk by its dotted name."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def room(module: str) -> str:
    """`lmk.data` of `lmk.data.views`."""
    return ".".join(module.split(".")[:2])


def imports(module: str) -> set[str]:
    """Modules that a module imports anywhere, inside functions and for types, too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports by dots"
            inner = {f"{node.module}.{name.name}" for name in node.names} & MODULES.keys()
            found |= inner or {node.module}
    return found


def may_import(importer: str, imported: str) -> bool:
    above, below = room(importer), room(imported)
    if above == below:
        return True
    if FLOOR[above] == FLOOR[below] and FLOOR[above] in STRANGERS:
        return (above, below) in STRANGERS[FLOOR[above]]
    return FLOOR[above] >= FLOOR[below]


def test_every_room_has_its_floor_and_every_floor_its_rooms():
    assert {room(module) for module in MODULES} == FLOOR.keys()


def test_rooms_and_floors_stay_few_and_make_no_circle():
    graph = rooms()
    assert not circles(graph)
    assert len(graph) <= 16
    assert max(floors(graph).values()) <= 8


@pytest.mark.parametrize("floor", sorted(STRANGERS.keys() ^ FLOORS.keys()))
def test_rooms_of_a_floor_without_exceptions_do_not_know_each_other(floor):
    """All of lmk may import the package itself and `lmk.util`; those of one floor are independent."""
    graph = rooms()
    own = {name.removeprefix("lmk.") for name in FLOORS[floor]}
    assert not {(one, other) for one in own & graph.keys() for other in graph[one] & own}


RUN_WIDE = {"Config", "Execution", "Dataset", "Step", "Shared"}
"""Objects of the pipeline that stand for a whole run."""


def parameters(module: str) -> dict[str, set[str]]:
    """Names in the annotations of each function's parameters, by `module:line function`; `h5py.Dataset` is no name."""
    found = {}
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            notes = [one.annotation for one in given if one is not None and one.annotation is not None]
            texts = " ".join(note.value if isinstance(note, ast.Constant) else ast.unparse(note) for note in notes)
            found[f"{module}:{node.lineno} {node.name}"] = set(re.findall(r"(?<![\w.])\w+", str(texts)))
    return found


def test_no_function_outside_the_pipeline_and_the_command_line_takes_a_run():
    taking = [
        function
        for module in MODULES
        if room(module) not in ("lmk.pipeline", "lmk.cli")
        for function, names in parameters(module).items()
        if names & RUN_WIDE
    ]
    assert not taking


def test_the_steps_take_arrays_and_values_not_the_run():
    """What computes a step may ask for the dataset that it works on, but for no settings."""
    computing = {
        module for name, modules in vars(code_of_steps).items() if name.endswith("_CODE") for module in modules
    }
    computing |= {module for kind in LOCAL_FEATURES.values() for module in kind.code}
    taking = [
        function
        for module in sorted(computing & MODULES.keys())
        for function, names in parameters(module).items()
        if names & (RUN_WIDE - {"Dataset"})
    ]
    assert len(computing) > 50
    assert not taking


def test_one_module_reads_and_writes_the_record_of_a_run():
    naming = [module for module, path in MODULES.items() if '"run.json"' in path.read_text(encoding="utf-8")]
    assert naming == ["lmk.runs"]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_one_way(module):
    wrong = [name for name in imports(module) if name.split(".")[0] == "lmk" and not may_import(module, name)]
    assert not wrong


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_backend_is_named_only_where_the_file_says_so(module):
    named = {name.split(".")[0] for name in imports(module)} & BACKENDS
    assert all(module.endswith(f"_{backend}") for backend in named)


def test_nothing_is_pickled_or_evaluated():
    forbidden = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
    for module, path in MODULES.items():
        assert not {name.split(".")[0] for name in imports(module)} & forbidden, module
        calls = [node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        assert not [call.id for call in calls if isinstance(call, ast.Name) and call.id in ("eval", "exec")], module


def test_a_broad_except_says_why():
    """`except Exception` hides mistakes; where a library raises nothing narrower, a comment follows."""
    for module, path in MODULES.items():
        lines = path.read_text("utf-8").splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if not isinstance(node, ast.ExceptHandler):
                continue
            assert node.type is not None, f"{module}:{node.lineno} excepts everything"
            if isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"):
                reraised = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                told = any("#" in line for line in lines[node.lineno - 1 : node.lineno + 1])
                assert reraised or told, f"{module}:{node.lineno} excepts broadly"


def test_no_import_waits_within_a_function_for_nothing():
    assert structure.needless_inner_imports() == []


def test_an_import_within_a_function_that_saves_no_time_is_found(tmp_path):
    folder = tmp_path / "lmk"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "light.py").write_text("import json\n")
    (folder / "heavy.py").write_text("import keras\n")
    (folder / "user.py").write_text(
        "import json\n\n\ndef f():\n    from lmk.light import x\n\n\ndef g():\n    from lmk.heavy import y\n"
    )
    assert structure.needless_inner_imports(tmp_path) == ["lmk.user:5"]


def lmk_in_a_process(*arguments: str, environment: dict[str, str] | None = None) -> tuple[str, set[str]]:
    """What `lmk ARGUMENTS` prints, and the heavy modules that it has loaded when it ends."""
    script = (
        "import atexit, sys\n"
        f"heavy = {HEAVY!r}\n"
        "atexit.register(lambda: print('LOADED', *[m for m in heavy if m in sys.modules], file=sys.stderr))\n"
        f"sys.argv = ['lmk', *{list(arguments)!r}]\n"
        "from lmk.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.strip().splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["make-submission", "--help"], ["data", "--help"], ["recipes", "--json"]]
)
def test_what_computes_nothing_loads_nothing_heavy(arguments):
    printed, loaded = lmk_in_a_process(*arguments)
    assert printed
    assert not loaded


def test_completion_loads_nothing_heavy():
    environment = {"_LMK_COMPLETE": "complete_bash", "COMP_WORDS": "lmk make", "COMP_CWORD": "1", "PATH": "/usr/bin"}
    printed, loaded = lmk_in_a_process(environment=environment)
    assert "make-submission" in printed
    assert not loaded


def test_the_version_is_the_packages():
    assert lmk_in_a_process("--version")[0].strip() == f"lmk {lmk.__version__}"


def test_every_command_of_the_contract_is_there():
    listed = lmk_in_a_process("--help")[0]
    assert not [command for command in [*COMMANDS.split(), "data"] if f" {command} " not in listed]
    assert " status " in lmk_in_a_process("data", "--help")[0]


def test_every_command_is_listed_with_the_first_paragraph_of_its_help():
    for name, (text, _) in COMMANDS_LISTED.items():
        first = build(name).help.split("\n\n")[0]
        assert text == " ".join(first.split()), name


def test_every_module_that_registers_a_command_is_listed():
    listed = {module for _, modules in COMMANDS_LISTED.values() for module in modules}
    for path in (ROOT / "cli").glob("*.py"):
        registers = re.search(r"^@\w+\.command\(", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert not registers or path.stem in listed, path.name


def test_the_list_of_commands_imports_none_of_them_and_draws_nothing():
    script = (
        "import sys\n"
        "sys.argv = ['lmk', '--help']\n"
        "from lmk.cli.main import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stderr.split())
    assert all(f" {name} " in done.stdout for name in COMMANDS_LISTED)
    assert not {f"lmk.cli.{module}" for _, modules in COMMANDS_LISTED.values() for module in modules} & loaded
    assert not {"rich.console", "rich.markdown", "tomllib", "filelock"} & loaded
