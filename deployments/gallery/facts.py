"""What may be said of a person: a name, and facts by name."""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)


def _without_nul(text: str) -> str:
    """Refuse the one character that PostgreSQL cannot store."""
    if "\0" in text:
        raise ValueError("expected text without the character NUL")
    return text


def _told_once(value: Any, validated: ValidatorFunctionWrapHandler) -> Any:
    """Tell one fault of a wrong value, in place of one for each type that it could have."""
    try:
        return validated(value)
    except ValidationError:
        raise ValueError(
            "expected a text of up to 1024 characters without NUL, a number, true or false"
        ) from None


Text = Annotated[str, Field(max_length=1024), AfterValidator(_without_nul)]
Fact = Annotated[
    Text | int | Annotated[float, Field(allow_inf_nan=False)] | bool, WrapValidator(_told_once)
]
FactName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_without_nul)]
Facts = Annotated[dict[FactName, Fact], Field(max_length=64)]
