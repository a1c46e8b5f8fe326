"""An end that a command is told: a date in UTC, or days from now."""

import re
from datetime import datetime, timedelta, timezone

import typer

from configs.access import expiry_from, utc_text

_DAYS = re.compile(r"([0-9]{1,5})d")


def end_from(text: str) -> datetime:
    """The time in UTC of `90d`, a date or a date-time. Raises BadParameter, also for one that is
    past."""
    now = datetime.now(timezone.utc)
    days = _DAYS.fullmatch(text)
    try:
        end = now + timedelta(days=int(days[1])) if days else expiry_from(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, or days, such as 90d") from error
    if end <= now:
        raise typer.BadParameter(f"{utc_text(end)} is past")
    return end
