"""The weekly quota of accelerator hours, as Kaggle reports it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lmk.kaggle.api import Client
from lmk.kaggle.faults import NoAnswer
from lmk.util.errors import LimitError


@dataclass(frozen=True)
class Quota:
    """Hours of one kind of accelerator this week.

    Attributes:
        kind: gpu or tpu.
        used: Hours of sessions that ended.
        reserved: Hours that running sessions hold.
        allowed: Hours a week.
        refresh: When the week begins anew; None where Kaggle does not say.
    """

    kind: str
    used: float
    reserved: float
    allowed: float
    refresh: datetime | None

    @property
    def left(self) -> float:
        """Hours that a new session may take."""
        return max(0.0, self.allowed - self.used - self.reserved)

    @property
    def when(self) -> str:
        """When hours come back, in words."""
        return f"{self.refresh:%Y-%m-%d %H:%M} UTC" if self.refresh else "next week"

    def seconds_until_refresh(self, now: datetime | None = None) -> float | None:
        """Seconds until the week begins anew, 0 if that is past; None where Kaggle does not say."""
        if self.refresh is None:
            return None
        refresh = self.refresh if self.refresh.tzinfo else self.refresh.replace(tzinfo=UTC)
        return max(0.0, (refresh - (now or datetime.now(UTC))).total_seconds())


def read_quota(client: Client) -> dict[str, Quota]:
    """The quotas by kind of accelerator; a kind that Kaggle does not report is absent."""
    answer = client.read("tell the accelerator hours", client.api.quota_view)
    found = {}
    for kind in ("gpu", "tpu"):
        values = getattr(answer, f"{kind}_quota", None)
        if values is None or values.total_time_allowed is None:
            continue
        used, reserved, allowed = values.time_used, values.time_reserved, values.total_time_allowed
        found[kind] = Quota(kind, _hours(used), _hours(reserved), _hours(allowed), answer.quota_refresh_time)
    return found


def _hours(span: Any) -> float:
    return span.total_seconds() / 3600 if span else 0.0


def check_hours(client: Client, kind: str) -> Quota | None:
    """The quota of a kind of accelerator; None where Kaggle does not say.

    Raises:
        LimitError: No hours are left.
    """
    try:
        quota = read_quota(client).get(kind)
    except NoAnswer:
        return None
    if quota is not None and quota.left <= 0:
        raise LimitError(
            f"No {kind.upper()} hours are left this week; they come back {quota.when}. "
            'Write "enable_gpu": false to run on a CPU.'
        )
    return quota


def accelerator(values: Mapping[str, object]) -> str | None:
    """The kind of accelerator that a kernel's settings ask for; None on a CPU."""
    return "tpu" if values.get("enable_tpu") else "gpu" if values.get("enable_gpu") else None
