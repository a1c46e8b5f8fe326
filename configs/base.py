"""What every configuration model shares: frozen, and unknown keys are errors."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


StuckAfter = Annotated[
    float,
    Field(
        gt=0,
        description="Seconds after which a computation that has not ended counts as stuck: the"
        " replica's health checks fail, and Serve replaces it. Must exceed the longest call of the"
        " network, with torch_mode compile a compilation within a request too.",
    ),
]
