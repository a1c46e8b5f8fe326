"""The base of every configuration model, and the types of fields that several models share."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Config(BaseModel):
    """A frozen model. Refuses unknown keys, and a field's former name with the new one.

    renamed: new names by former name.
    """

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
        description="Seconds after which a computation counts as stuck: the replica's health checks"
        " then fail, and Serve replaces the replica. Must exceed the longest call of the network.",
    ),
]
