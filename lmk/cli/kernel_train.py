"""`lmk kernel train`: a training that takes several of Kaggle's sessions."""

from __future__ import annotations

from typing import Annotated

import typer

from lmk.cli.app import DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, print_json
from lmk.cli.kaggle_options import DEFAULT_TIMEOUT, TimeoutOption, connect
from lmk.cli.kernel import (
    POLL_SECONDS,
    EveryOption,
    LimitOption,
    NameArgument,
    WheelsOption,
    check_recipe_files,
    kernel,
    tell_pulled,
)
from lmk.cli.output import say


@kernel.command()
def train(
    name: NameArgument,
    limit: LimitOption = None,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait/--no-wait", help="Wait for sessions and for the weekly quota; else do what can be done now."
        ),
    ] = True,
    again: Annotated[
        bool, typer.Option("--again", help="Train anew what is trained, or go on after several failures in a row.")
    ] = False,
    wheels: WheelsOption = None,
    every: EveryOption = POLL_SECONDS,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    as_json: JsonOption = False,
) -> None:
    """Train a kernel over as many sessions as it needs, then pull the result.

    Each session stops before its limit and leaves a checkpoint, which the next one goes on from. The command may be
    stopped at any time; the same command goes on. Exit codes: 0 trained and pulled; 75 not finished yet, call again
    (--no-wait); 4 no accelerator hours left (--no-wait); 5 Kaggle failed, call again.
    """
    from dataclasses import asdict

    from lmk.cli.console import note, progress
    from lmk.kaggle.credentials import secrets
    from lmk.kaggle.kernels import Kernel
    from lmk.kaggle.session import UNFINISHED
    from lmk.kaggle.train_loop import TrainingLoop
    from lmk.kaggle.wheels import publish_wheels
    from lmk.util.files import alone_in
    from lmk.util.workspace import Workspace

    folder = Kernel.open(name)
    check_recipe_files(folder)
    place = Workspace.open(workspace)
    client = connect(timeout)
    with alone_in(folder.folder):
        loop = TrainingLoop(
            client,
            folder,
            [*secrets(), *client.secrets()],
            place.root,
            seconds=limit,
            every=every,
            timeout=timeout,
            wheels=publish_wheels(client, folder, wheels) if wheels is not None else None,
            tell=note,
            progress=progress,
        )
        try:
            pulled = loop.run(wait, again)
        except KeyboardInterrupt:
            note(f"Interrupted. A running session goes on at Kaggle; `lmk kernel train {name}` goes on from it.")
            raise
    sessions = [asdict(session) for session in loop.training.sessions]
    if as_json:
        print_json(
            {
                "finished": pulled is not None,
                "sessions": sessions,
                "new": pulled.new if pulled else [],
                "kept": pulled.kept if pulled else [],
            }
        )
    elif pulled is not None:
        say(f"{name}: trained in {len(sessions)} session{'s' if len(sessions) != 1 else ''}")
        tell_pulled(pulled, workspace)
    if pulled is None:
        note(f"Not finished. Call `lmk kernel train {name}` again.")
        raise typer.Exit(UNFINISHED)
