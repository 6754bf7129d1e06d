"""`kernel-metadata.json`: read, completed and checked before anything is sent."""

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmk.util.errors import LmkError, quoted

FILE_NAME = "kernel-metadata.json"
KEYS = (
    "id",
    "id_no",
    "title",
    "code_file",
    "language",
    "kernel_type",
    "is_private",
    "enable_gpu",
    "enable_tpu",
    "enable_internet",
    "machine_shape",
    "dataset_sources",
    "competition_sources",
    "kernel_sources",
    "model_sources",
    "keywords",
    "docker_image",
    "docker_image_pinning_type",
)
SOURCES = {  # how many names each kind of source has, joined by slashes; without an owner it is the account's own,
    # and a dataset's third is the number of its version
    "dataset_sources": (1, 3),
    "competition_sources": (1, 1),
    "kernel_sources": (1, 2),
    "model_sources": (5, 5),
}
RETIRED = ("NvidiaTeslaP100", "TpuV38", "Tpu1VmV38")
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Metadata:
    """A kernel's checked settings; `values` are what Kaggle gets, the owner filled in."""

    values: Mapping[str, Any]
    folder: Path

    @property
    def ref(self) -> str:
        """OWNER/SLUG."""
        return self.values["id"]

    @property
    def slug(self) -> str:
        """The kernel's own part of `ref`."""
        return self.ref.split("/")[1]

    @property
    def script(self) -> Path:
        """The kernel's own script."""
        return self.folder / self.values["code_file"]

    @property
    def competitions(self) -> list[str]:
        """Slugs of the attached competitions."""
        return list(self.values.get("competition_sources", []))


def slugify(title: str) -> str:
    """The slug that Kaggle makes of a title."""
    return "-".join(re.findall(r"[a-z0-9]+", title.lower()))


def read_metadata(folder: Path, owner: str) -> Metadata:
    """The checked settings of the kernel in `folder`.

    Args:
        folder: Holds `kernel-metadata.json` and the script that it names.
        owner: The account that an `id` without an owner belongs to.

    Raises:
        LmkError: Names the file, the key and what to write.
    """
    path = folder / FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise LmkError(f"{path} is missing. Run `lmk kernel new {folder.name}`.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise LmkError(f"{path} is no JSON ({quoted(str(error))}).") from error
    if not isinstance(values, dict):
        raise LmkError(f"{path} is no JSON object.")
    complete = dict(values)
    if "/" not in str(values.get("id", "")):
        complete["id"] = f"{owner}/{values.get('id', '')}"
    for key in ("dataset_sources", "kernel_sources"):
        if isinstance(others := values.get(key, []), list):
            complete[key] = [name if "/" in str(name) else f"{owner}/{name}" for name in others]
    for problem in _problems(complete, folder):
        raise LmkError(f"{path}: {problem}")
    return Metadata(complete, folder)


def _problems(values: dict[str, Any], folder: Path) -> list[str]:
    """Faults, the gravest first; empty if there are none."""
    found = [_unknown(key) for key in values if key not in KEYS]
    found += [f"`{key}` is missing." for key in ("title", "code_file") if not values.get(key)]
    if found:
        return found
    owner, _, slug = str(values["id"]).partition("/")
    title = str(values["title"])
    if not owner:
        found.append(f'`id` has no owner, and the credentials name none. Write "id": "YOUR-NAME/{slug}".')
    if len(slug) < 5 or not SLUG.fullmatch(slug):
        found.append(f"`id` ends in '{slug}'; a slug has at least 5 of a-z, 0-9 and single hyphens, and no version.")
    if not 5 <= len(title) <= 50:
        found.append(f"`title` has {len(title)} characters; Kaggle takes 5 to 50.")
    elif slugify(title) != slug:
        found.append(
            f"`title` makes the slug '{slugify(title)}', but `id` ends in '{slug}'; Kaggle mixes up such kernels."
        )
    if values.get("language") != "python" or values.get("kernel_type") != "script":
        found.append('lmk pushes scripts: write "language": "python" and "kernel_type": "script".')
    script = folder / str(values["code_file"])
    if script.parent != folder or not script.is_file():
        found.append(f"`code_file` names {script.name}, which is not in {folder}.")
    for key in ("is_private", "enable_gpu", "enable_internet"):
        if not isinstance(values.get(key), bool):
            found.append(
                f"`{key}` must stand there as true or false (Kaggle's own default differs from its documents)."
            )
    if values.get("machine_shape") in RETIRED:
        found.append(f"`machine_shape` {values['machine_shape']} is retired; NvidiaTeslaT4 is free.")
    return found + [problem for key, counts in SOURCES.items() for problem in _source_problems(values, key, counts)]


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key, KEYS, 1)
    return f"`{key}` is no key that Kaggle knows." + (f" Did you mean `{near[0]}`?" if near else "")


def _source_problems(values: dict[str, Any], key: str, counts: tuple[int, int]) -> list[str]:
    names = values.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return [f"`{key}` must be a list of names."]
    shapes = {
        1: "SLUG",
        2: "OWNER/SLUG",
        3: "OWNER/SLUG or OWNER/SLUG/VERSION",
        5: "OWNER/MODEL/FRAMEWORK/VARIATION/VERSION",
    }
    return [
        f"`{key}` holds '{name}'; write {shapes[counts[1]]}."
        for name in names
        if not _is_source(name.split("/"), counts)
    ]


def _is_source(parts: list[str], counts: tuple[int, int]) -> bool:
    version = parts[2:] if counts == SOURCES["dataset_sources"] else []
    return (
        counts[0] <= len(parts) <= counts[1]
        and all(parts)
        and all(re.fullmatch("[0-9]+", number) for number in version)
    )
