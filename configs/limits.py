"""Configuration of the limits of images and of requests."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from configs.base import Config

MEBI = 1024 * 1024


class ImageLimits(Config):
    max_bytes: int = Field(default=12 * MEBI, ge=1024, description="Most bytes of one image file.")
    max_pixels: int = Field(
        default=50_000_000,
        ge=1024,
        description="Most pixels, width x height, of one image, checked before decoding.",
    )
    max_pixels_in_flight: int = Field(
        default=150_000_000,
        ge=1024,
        description="Most pixels of all photos that one detector replica holds decoded, at three"
        " bytes each; further photos queue.",
    )

    @model_validator(mode="after")
    def _holds_one_photo(self) -> "ImageLimits":
        if self.max_pixels_in_flight < self.max_pixels:
            raise ValueError(
                f"max_pixels_in_flight: {self.max_pixels_in_flight} is less than max_pixels,"
                f" {self.max_pixels}"
            )
        return self


class RequestLimits(Config):
    """Limits of one request, and of all requests that one ingress replica admits."""

    renamed: ClassVar[Mapping[str, str]] = {"max_wait_s": "max_queue_wait_s"}

    max_bytes: int = Field(
        default=32 * MEBI,
        ge=1024,
        description="Most bytes of one request's body, counted while it arrives.",
    )
    max_bytes_in_flight: int = Field(
        default=512 * MEBI,
        ge=1024,
        description="Most bytes of all bodies that one ingress replica holds; a request beyond"
        " them is answered 503.",
    )
    max_concurrent: int = Field(
        default=256,
        ge=1,
        description="Most requests in progress in one ingress replica; further requests are"
        " answered 503.",
    )
    max_queue_wait_s: float = Field(
        default=15.0,
        gt=0,
        description="Load shedding: most seconds that all requests in progress in one ingress"
        " replica may still take, estimated from the rate of its last answers; further requests"
        " are answered 503. Keep it below `timeout_s`.",
    )
    timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="Seconds after which a request is cancelled and answered 504.",
    )
    body_timeout_s: float = Field(
        default=30.0, gt=0, description="Most seconds that a request's body may take to arrive."
    )
    retry_after_s: int = Field(
        default=1, ge=1, description="Seconds in the Retry-After header of a 503."
    )
