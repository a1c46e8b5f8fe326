"""What may be said of a person: a name, and facts by name."""

from typing import Annotated

from pydantic import AfterValidator, Field


def _without_nul(text: str) -> str:
    """Refuse the one character that PostgreSQL cannot store."""
    if "\0" in text:
        raise ValueError("expected text without the character NUL")
    return text


Text = Annotated[str, Field(max_length=1024), AfterValidator(_without_nul)]
Fact = Text | int | Annotated[float, Field(allow_inf_nan=False)] | bool
FactName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_without_nul)]
Facts = Annotated[dict[FactName, Fact], Field(max_length=64)]
