"""When a replica that still runs counts as broken."""

from typing import Annotated

from pydantic import Field

StuckAfter = Annotated[
    float,
    Field(
        gt=0,
        description="Seconds after which a computation that has not ended counts as stuck: the"
        " replica's health checks fail, and Serve replaces it. Must exceed the longest call of the"
        " network, with torch_mode compile a compilation within a request too.",
    ),
]
