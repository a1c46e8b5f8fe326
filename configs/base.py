"""The base class of every configuration model, and a field's type that several of them share."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Config(BaseModel):
    """A frozen model that refuses unknown keys; for a field's former name, it names the new one.

    renamed: fields' new names by former name.
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
