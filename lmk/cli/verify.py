"""`lmk verify`: evidence for what the ensemble proposes, and the picture of one comparison."""

from __future__ import annotations

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
    ImageSizeOption,
    JobsOption,
    RecipesOption,
    ShareOption,
    ViewsOption,
    WeightsOption,
    open_run_from,
)

verify = typer.Typer(help="Geometric verification by local features.", invoke_without_command=True)
app.add_typer(verify, name="verify")


@verify.callback()
def verify_all(
    context: typer.Context,
    competition: CompetitionOption = DEFAULT_COMPETITION,
    recipe: RecipesOption = None,
    weights: WeightsOption = None,
    image_size: ImageSizeOption = None,
    epochs: EpochsOption = None,
    views: ViewsOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    seed: SeedOption = 0,
    folds: FoldsOption = 5,
    dev_share: ShareOption = 0.6,
    jobs: JobsOption = 2,
    json: JsonOption = False,
) -> None:
    """Verify the landmarks that the ensemble proposes, and tell how well the evidence parts right from wrong."""
    if context.invoked_subcommand:
        return
    from sklearn.metrics import roc_auc_score

    from lmk.cli.stages import blend_of
    from lmk.pipeline import verify as run_verification

    run = open_run_from(
        competition, workspace, recipe, weights, image_size, epochs, views, seed, dev_share, folds, "learned", jobs
    )
    _, blended = blend_of(run)
    evidence = run_verification(run, blended).dev
    right = blended.dev.best == run.dev.truth
    area = {name: float(roc_auc_score(right, values[:, 0])) for name, values in evidence.proposals().items()}
    compared = int(evidence.compared.sum())
    if json:
        print_json({"roc_area": area, "comparisons": compared, "queries": len(evidence), "seconds": run.seconds})
        return
    from lmk.cli.tables import print_table

    print_table(
        f"Evidence for the first proposal on dev: {len(evidence):,} queries, {compared:,} comparisons",
        ("evidence", "ROC area, right against wrong"),
        [(name, f"{value:.4f}") for name, value in area.items()],
    )
