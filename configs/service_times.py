"""What one request costs each stage: what a cluster's size is worked out from."""

from typing import Annotated, Literal

from pydantic import Field

from configs.base import Config

RequestKind = Literal["compare", "embed", "detect"]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ServiceTimes(Config):
    """A JSON file that `facegraph plan --measure --save` writes."""

    request: RequestKind = Field(default="compare", description="The route that was asked.")
    measured_on: str = Field(description="The machine's kind.")
    requests: int = Field(ge=1, description="How many were sent.")
    cost_s: dict[str, Seconds] = Field(
        description="By deployment: seconds that its workers compute for one request."
    )
