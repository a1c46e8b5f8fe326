"""Configuration of HAProxy: Serve's, beyond the settings that Serve has, and the one before several
clusters.

It is read from environment variables, as Serve's own settings are: Serve starts HAProxy before it
reads any application's args.
"""

from collections.abc import Mapping

from pydantic import Field

from configs.base import Config

PREFIX = "FACEGRAPH_HAPROXY_"
SERVE_PREFIX = "RAY_SERVE_HAPROXY_"


class HAProxySettings(Config):
    head_timeout_s: float = Field(
        default=5.0,
        gt=0,
        description="Seconds for a request's head to arrive, and for the body's first byte"
        " after a 100 Continue.",
    )
    body_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="Seconds for a body to arrive, or as much of it as fits into HAProxy's buffer"
        " (RAY_SERVE_HAPROXY_TUNE_BUFSIZE). HAProxy waits so long before it passes the request on:"
        " it then has all of a request that it may have to send again.",
    )
    buffered_bodies: int = Field(
        default=1024,
        ge=0,
        description="Connections, of all clients, from which on HAProxy waits for no body: each"
        " body that it waits for takes a buffer.",
    )
    share_per_address: float = Field(
        default=0.75,
        gt=0,
        le=1,
        description="Share of RAY_SERVE_HAPROXY_MAXCONN that the connections of one address may"
        " take; further ones are closed at once.",
    )
    monitoring_host: str = Field(
        default="127.0.0.1",
        min_length=1,
        pattern=r"^\S+$",
        description="Address at which HAProxy shows its statistics and metrics; * for all.",
    )


class FrontSettings(Config):
    """Serve's settings of HAProxy that hold for the one before several clusters too, with Serve's
    defaults; RAY_SERVE_HAPROXY_MAXCONN is maxconn."""

    maxconn: int = Field(default=4096, ge=1, description="Most connections of clients.")
    nbthread: int = Field(default=4, ge=1, description="Threads of HAProxy.")
    timeout_client_s: int = Field(
        default=3600, ge=1, description="Seconds in which a client may send and read nothing."
    )
    tune_bufsize: int = Field(
        default=16384, ge=1024, description="Bytes of the longest request that is sent again."
    )
    retries: int = Field(default=3, ge=0, description="How often a request is sent again.")


def front_settings(variables: Mapping[str, str]) -> FrontSettings:
    """The settings in `variables`. Raises pydantic's ValidationError; other names are ignored."""
    return FrontSettings.model_validate(
        {
            field: variables[f"{SERVE_PREFIX}{field.upper()}"]
            for field in FrontSettings.model_fields
            if f"{SERVE_PREFIX}{field.upper()}" in variables
        }
    )


def haproxy_settings(variables: Mapping[str, str]) -> HAProxySettings:
    """The settings in `variables`, by field: FACEGRAPH_HAPROXY_HEAD_TIMEOUT_S is head_timeout_s.

    Raises pydantic's ValidationError, also for an unknown name after the prefix.
    """
    return HAProxySettings.model_validate(
        {
            name.removeprefix(PREFIX).lower(): value
            for name, value in variables.items()
            if name.startswith(PREFIX)
        }
    )
