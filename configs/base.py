"""The base of every configuration model, and the types of fields that several models share."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Config(BaseModel):
    """A frozen model in which an unknown key is an error, and a renamed one names its new name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    renamed: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_former_names(cls, values: Any) -> Any:
        for former, name in cls.renamed.items():
            if isinstance(values, Mapping) and former in values:
                raise ValueError(f"{former} is now called {name}")
        return values


StuckAfter = Annotated[
    float,
    Field(
        gt=0,
        description="Seconds after which a computation that has not ended counts as stuck: the"
        " replica's health checks fail, and Serve replaces it. Must exceed the longest call of the"
        " network, with torch_mode compile a compilation within a request too.",
    ),
]
