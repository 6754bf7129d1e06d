"""`lmk quota`: hours of accelerators this week."""

from __future__ import annotations

from lmk.cli.app import JsonOption, app, print_json
from lmk.cli.kaggle_options import DEFAULT_TIMEOUT, TimeoutOption, connect
from lmk.cli.output import say


@app.command()
def quota(timeout: TimeoutOption = DEFAULT_TIMEOUT, as_json: JsonOption = False) -> None:
    """Print the hours of GPU and TPU that are left on Kaggle this week, and when they come back."""
    from lmk.cli.console import next_steps
    from lmk.kaggle.quota import read_quota
    from lmk.util.errors import RemoteError

    found = read_quota(connect(timeout))
    if not found:
        raise RemoteError("Kaggle reports no accelerator quota for this account. See its page of settings.")
    if as_json:
        print_json(
            {
                kind: {
                    "used": round(entry.used, 4),
                    "reserved": round(entry.reserved, 4),
                    "allowed": round(entry.allowed, 4),
                    "left": round(entry.left, 4),
                    "refresh": entry.refresh.isoformat() if entry.refresh else None,
                }
                for kind, entry in found.items()
            }
        )
        return
    for kind, entry in found.items():
        say(f"{kind.upper()}  {entry.left:.1f} of {entry.allowed:.0f} h left; the week begins anew {entry.when}")
    next_steps("lmk kernel train NAME  (trains on Kaggle within these hours)")
