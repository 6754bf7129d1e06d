"""`lmk demo`: a first run, on the competition that lmk draws itself."""

from lmk.cli.app import DEFAULT_COMPETITION, DEFAULT_WORKSPACE, JsonOption, WorkspaceOption, app, print_json


@app.command()
def demo(workspace: WorkspaceOption = DEFAULT_WORKSPACE, json: JsonOption = False) -> None:
    """Make a submission for the demo, a competition that lmk draws itself: a first run without photos or account.

    It is `lmk make-submission -c demo` with every default: minutes on two cores. Killed, it goes on where it was.
    """
    from lmk.cli.console import next_steps
    from lmk.cli.make_submission import after_run
    from lmk.cli.options import open_run
    from lmk.cli.tables import print_result
    from lmk.pipeline.run import make_submission

    with open_run(competition=DEFAULT_COMPETITION, workspace=workspace) as opened:
        result = make_submission(opened.config, opened.dataset, opened.execution)
        if json:
            print_json(result.to_dict())
            return
        print_result(result)
        next_steps(*after_run(opened, result), "lmk data new FOLDER  (the same with your own photos)")
