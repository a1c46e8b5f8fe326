"""What a request may ask for."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from configs.base import Config

MEBI = 1024 * 1024


class ImageLimits(Config):
    max_bytes: int = Field(default=12 * MEBI, ge=1024, description="Bytes of one image file.")
    max_pixels: int = Field(
        default=50_000_000, ge=1024, description="Width x height of one image, before decoding."
    )
    max_pixels_in_flight: int = Field(
        default=150_000_000,
        ge=1024,
        description="Pixels of all photos that one detector replica holds decoded, three bytes"
        " each; further photos wait in order. max_pixels are set aside for a photo until its size"
        " is known: less than max_pixels x the detector's workers leaves workers idle.",
    )

    @model_validator(mode="after")
    def _takes_one_photo(self) -> "ImageLimits":
        if self.max_pixels_in_flight < self.max_pixels:
            raise ValueError(
                f"max_pixels_in_flight: {self.max_pixels_in_flight} is less than max_pixels,"
                f" {self.max_pixels}"
            )
        return self


class RequestLimits(Config):
    renamed: ClassVar[Mapping[str, str]] = {"max_wait_s": "max_queue_wait_s"}

    max_bytes: int = Field(
        default=32 * MEBI, ge=1024, description="Bytes of one request's body, counted as it comes."
    )
    max_bytes_in_flight: int = Field(
        default=512 * MEBI,
        ge=1024,
        description="Bytes of all bodies that one ingress replica holds; a request that would pass"
        " them is answered 503. While a body is read it takes up to three times its size.",
    )
    max_concurrent: int = Field(
        default=256,
        ge=1,
        description="Requests that one ingress replica works on; more are answered 503.",
    )
    max_queue_wait_s: float = Field(
        default=15.0,
        gt=0,
        description="Seconds that the requests which one ingress replica works on may take in all,"
        " by the rate of its last answers; more are answered 503. Should be below `timeout_s`.",
    )
    timeout_s: float = Field(
        default=30.0, gt=0, description="Seconds until a request is answered 504 and given up."
    )
    body_timeout_s: float = Field(
        default=30.0, gt=0, description="Seconds that a request's body may take to arrive."
    )
    retry_after_s: int = Field(
        default=1, ge=1, description="Seconds that a 503 asks the client to wait."
    )
