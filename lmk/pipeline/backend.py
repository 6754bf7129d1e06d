"""Which backend computes networks: this process, or a kernel from which results were pulled; and its start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lmk.pipeline.config import Backend, Config, Execution, backend_here
from lmk.util.errors import LmkError
from lmk.util.team import ALONE, Team
from lmk.util.workspace import Workspace


def choose_backend(step: str, stored: Callable[[Backend], bool], execution: Execution) -> Backend:
    """The backend whose results of a network are taken: this process' where some are stored or none are anywhere.

    Features and networks differ a little from one backend to another, so it is a fact of their keys; it is chosen
    once, before keys are computed.

    Args:
        step: The network's step, for the note that results were pulled.
        stored: Whether a backend's results are in the workspace.
        execution: Workspace, which remembers the backends of pulled results, and notes.
    """
    here = backend_here()
    known = (here, *(Backend(*one) for one in execution.workspace.libraries()))
    found = next((backend for backend in known if stored(backend)), here)
    if found != here:
        execution.note(f"{step} comes from a kernel with Keras {found}; here is {here}.")
    return found


def refusal(step: str, backend: Backend, workspace: Workspace) -> Callable[[str], None]:
    """Function that raises where something is to be computed here beside results of another backend.

    Args:
        step: The network's step.
        backend: The backend of its results.
        workspace: Remembers the backends of pulled results.
    """

    def may_compute(what: str) -> None:
        here = backend_here()
        if backend != here:
            raise LmkError(
                f"{step} comes from a kernel with Keras {backend}, but some of its {what} are not here, and Keras "
                f"{here} would not give the same. Pull the kernel again, install that Keras, or remove "
                f"{workspace.libraries_file} to compute all of it here."
            )

    return may_compute


@contextmanager
def running_backend(config: Config, note: Callable[[str], None], team: Team = ALONE) -> Iterator[None]:
    """Keras started, with networks built inside on all devices in the run's precision.

    Args:
        config: The run's; where no backbone learns, each pass of a network keeps to one core.
        note: Takes one line for the user.
        team: Processes that train together, each of which enters this.

    Raises:
        LmkError: Keras' backend cannot train over several processes.
        RemoteError: They did not meet.
    """
    from lmk.models.start import one_core_a_pass, start_keras  # Keras takes seconds to load

    if all(recipe.frozen for recipe in config.recipes) and not config.delf_tune:
        one_core_a_pass()
    if team.processes > 1:
        note(f"Waiting at {team.coordinator} until all {team.processes} processes are there.")
    start_keras(team)
    from lmk.models.device import POLICIES, on_all_devices
    from lmk.models.distributed import in_step

    with in_step(team), on_all_devices(POLICIES[config.precision], alone=team.processes == 1):
        yield
