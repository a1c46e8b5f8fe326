"""The base class of every configuration model, and a field's type that several of them share."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from configs.spelling import did_you_mean, unknown_key

# Types of the faults below, in the errors of a ValidationError.
UNKNOWN_KEY, UNKNOWN_CHOICE = "unknown_key", "unknown_choice"


class Config(BaseModel):
    """A frozen model that refuses unknown keys.

    For a misspelt key or choice its errors suggest the right one; for a field's former name, they
    name the new one. renamed: fields' new names by former name.
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

    @model_validator(mode="wrap")
    @classmethod
    def _suggest_names(cls, values: Any, validated: Any) -> Any:
        try:
            return validated(values)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                error.title,
                [cls._with_suggestion(fault) for fault in error.errors(include_url=False)],
                hide_input=cls.model_config.get("hide_input_in_errors", False),
            ) from None

    @classmethod
    def _with_suggestion(cls, fault: ErrorDetails) -> InitErrorDetails:
        kind, message = fault["type"], fault["msg"]
        if kind == "extra_forbidden":
            message = unknown_key(str(fault["loc"][-1]), cls.model_fields)
            kind = UNKNOWN_KEY
        elif kind == "literal_error":
            expected = fault["ctx"]["expected"]
            close = did_you_mean(str(fault["input"]), re.findall("'([^']*)'", expected))
            kind, message = UNKNOWN_CHOICE, f"expected {expected}{close}"
        # Without a context, the message stands as it is, braces included.
        custom = PydanticCustomError(kind, message)
        return InitErrorDetails(type=custom, loc=fault["loc"], input=fault["input"])


StuckAfter = Annotated[
    float,
    Field(
        gt=0,
        description="Seconds after which a computation counts as stuck: the replica's health checks"
        " then fail, and Serve replaces the replica. Must exceed the longest call of the network.",
    ),
]
