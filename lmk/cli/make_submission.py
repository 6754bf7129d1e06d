"""`lmk make-submission`: the whole way, from a competition's files to a checked submission."""

from pathlib import Path
from typing import Annotated

import typer

from lmk.cli.app import (
    DEFAULT_COMPETITION,
    DEFAULT_WORKSPACE,
    CompetitionOption,
    JsonOption,
    SeedOption,
    WorkspaceOption,
    app,
    print_json,
)
from lmk.cli.running import (
    EpochsOption,
    FoldsOption,
    FusionOption,
    ImageSizeOption,
    JobsOption,
    RecipesOption,
    ShareOption,
    UnreadableOption,
    ViewsOption,
    WeightsOption,
    open_run_from,
)


@app.command("make-submission")
def make_submission(
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Blend the recipes and retrieval, verify, and fuse.")
    ] = False,
    competition: CompetitionOption = DEFAULT_COMPETITION,
    recipe: RecipesOption = None,
    weights: WeightsOption = None,
    image_size: ImageSizeOption = None,
    epochs: EpochsOption = None,
    views: ViewsOption = None,
    out: Annotated[Path | None, typer.Option(help="The submission. Default: one in the workspace.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    seed: SeedOption = 0,
    folds: FoldsOption = 5,
    dev_share: ShareOption = 0.6,
    fusion: FusionOption = "learned",
    jobs: JobsOption = 2,
    answer_unreadable: UnreadableOption = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the stages, what is stored, and the cost.")] = False,
    json: JsonOption = False,
) -> None:
    """Train, predict, ensemble, verify, fuse, and write a checked submission.

    What an earlier run stored is not computed again; a run that was killed goes on where it was.
    """
    from lmk.cli.tables import print_result, print_stages
    from lmk.pipeline import make_submission as run_all
    from lmk.plan import plan_stages

    run = open_run_from(
        competition,
        workspace,
        recipe,
        weights,
        image_size,
        epochs,
        views,
        seed,
        dev_share,
        folds,
        fusion,
        jobs,
        ensemble,
        answer_unreadable,
    )
    if dry_run:
        stages = plan_stages(run)
        if json:
            print_json({"stages": [stage.to_dict() for stage in stages]})
        else:
            print_stages(stages)
        return
    result = run_all(run, out)
    if json:
        print_json(result.to_dict())
    else:
        print_result(result)
