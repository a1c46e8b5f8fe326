"""The configuration of Serve's HAProxy, made safe for the clients of a public port.

Serve's template has no place for these lines, so they are put into its rendered text. Each place is
looked for by the line that Serve writes there: a template without it is refused.
"""

import re
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from configs.haproxy import FrontSettings, HAProxySettings
from deployments.errors import (
    DeadlineExceeded,
    FaceGraphError,
    InvalidRequest,
    ModelUnavailable,
    NotFound,
)
from graph.schemas import ErrorBody, ErrorResponse

# Open files that are not for clients' connections: half of all, at most so many. They are for
# connections to the ingress, which admits few requests at once, for pipes, listeners and logs.
_OTHER_FILES = 4096
# Pairs of open files through which large bodies pass without a copy; HAProxy's default is a
# quarter of maxconn.
_PIPES = 256
# Connections that a thread accepts before it does other work; HAProxy's default is 4. Where
# thousands come at once, the kernel's queue of them (4096) fills, and others wait for seconds.
_ACCEPTS = 64
_LIMITS = f"""    maxpipes {_PIPES}
    tune.maxaccept {_ACCEPTS}
    no strict-limits"""
_LOST = "the graph's ingress did not answer; try again"
# HAProxy's own answers. Seconds of `Retry-After` are left out where another try cannot help.
_ANSWERS: dict[int, tuple[type[FaceGraphError], str]] = {
    400: (InvalidRequest, "no valid request, or the client closed its side before the answer"),
    408: (DeadlineExceeded, "the request did not arrive in time"),
    500: (FaceGraphError, "the graph failed on this request"),
    501: (InvalidRequest, "the request asks for a protocol that is not served"),
    502: (ModelUnavailable, _LOST),
    503: (ModelUnavailable, "no ingress of the graph can be reached; try again"),
    504: (DeadlineExceeded, "the graph's ingress did not answer in time"),
}
_RETRY_AFTER_S = 1
_NO_ROUTE = "there is no such route"


class UnknownTemplate(RuntimeError):
    """Serve's HAProxy configuration is not the one that this file knows."""


@dataclass(frozen=True)
class _Edit:
    """A change of one place. pattern: matches it, with what stays as its one group; lines: what
    follows that in place of the rest."""

    pattern: str
    lines: str

    def apply(self, text: str) -> str:
        places = list(re.finditer(self.pattern, text, flags=re.MULTILINE))
        if len(places) != 1:
            raise UnknownTemplate(
                f"Serve's HAProxy configuration has {len(places)} places like {self.pattern!r},"
                " expected 1: this version of Ray is not supported"
            )
        (place,) = places
        return text[: place.end(1)] + self.lines + text[place.end() :]


def guarded(text: str, settings: HAProxySettings, *, maxconn: int, error_files: Path) -> str:
    """Serve's rendered configuration with limits for clients, JSON errors and private ports.

    maxconn: most connections that HAProxy takes. error_files: the folder of `write_error_files`.
    Raises UnknownTemplate.
    """
    for edit in _edits(text, settings, maxconn, error_files):
        text = edit.apply(text)
    return text


_FRONT = """global
    maxconn {maxconn}
    nbthread {nbthread}
    tune.bufsize {bufsize}
{limits}
defaults
    mode http
    timeout connect 5s
    timeout client {client_s}s
    timeout server 1h
    timeout check 5s
    timeout http-request {head_ms}ms
    timeout http-keep-alive {client_s}s
    option abortonclose
    option http-no-delay
{error_files}
frontend clients
    bind {address}{rules}
    default_backend clusters
backend clusters
    balance leastconn
    http-reuse always
    retries {retries}
    retry-on conn-failure empty-response 502 503
    option redispatch 1
    option allbackups
    http-check send meth GET uri {ready} ver HTTP/1.1 hdr host localhost
    option httpchk
    http-check expect status 200
    default-server inter 1s fastinter 250ms downinter 250ms fall 2 rise 1
{servers}
"""


def front_configuration(
    address: str,
    clusters: Sequence[str],
    ready: str,
    front: FrontSettings,
    settings: HAProxySettings,
    error_files: Path,
) -> str:
    """HAProxy's configuration at `address` before the HTTP servers of several clusters.

    clusters: HOST:PORT of each. ready: the path that answers 200 where every stage is ready. Only
    where no cluster is, the others get requests too. One that a cluster loses, or answers with 502
    or 503, goes to another one, if all of it fits into the buffer.
    """
    maxconn = most_connections(front.maxconn, open_files())
    servers = [
        f"    server {name}{number} {cluster}{options}"
        for name, options in (("ready", " check"), ("other", " backup"))
        for number, cluster in enumerate(clusters, 1)
    ]
    return _FRONT.format(
        address=address,
        maxconn=maxconn,
        nbthread=front.nbthread,
        bufsize=front.tune_bufsize,
        limits=_LIMITS,
        client_s=front.timeout_client_s,
        head_ms=_ms(settings.head_timeout_s),
        retries=front.retries,
        rules=_rules(settings, maxconn),
        error_files="".join(_error_file_lines(error_files)).rstrip("\n"),
        ready=ready,
        servers="\n".join(servers),
    )


def _edits(text: str, settings: HAProxySettings, maxconn: int, error_files: Path) -> list[_Edit]:
    host = settings.monitoring_host
    files = _error_file_lines(error_files)
    return [
        _Edit(r"^(    stats socket \S+ mode )666(?= )", "600"),
        _Edit(
            r"^(    maxconn )\d+$",
            f"{maxconn}\n{_LIMITS}",
        ),
        # A client that sends its head slowly keeps a connection no longer than this.
        _Edit(
            r"^(defaults\n    mode http)$",
            f"\n    timeout http-request {_ms(settings.head_timeout_s)}ms",
        ),
        _Edit(r"^()(?:    errorfile 50[234] \S+\n){3}", "".join(files)),
        _Edit(r"^(frontend prometheus\n    bind ):(?=\d+$)", f"{host}:"),
        _Edit(r"^(listen stats\n  bind )\*:(?=\d+$)", f"{host}:"),
        _Edit(r"^(frontend http_frontend\n    bind \S+)$", _rules(settings, maxconn)),
        _default_answer(starting="\n    use_backend " not in text),
    ]


def _default_answer(*, starting: bool) -> _Edit:
    """The answer for paths of no application. starting: there is no application yet."""
    answer = f"status 404 content-type application/json string '{_body(NotFound, _NO_ROUTE)}'"
    if starting:
        body = _body(ModelUnavailable, "the graph is starting; try again")
        answer = f"status 503 content-type application/json hdr retry-after {_RETRY_AFTER_S}"
        answer += f" string '{body}'"
    pattern = r"^(    http-request return )status 404 content-type text/plain lf-string .*$"
    return _Edit(pattern, answer)


def _rules(settings: HAProxySettings, maxconn: int) -> str:
    """Rules of the frontend that takes requests.

    HAProxy can send a request again only if it has all of it. Without the second `wait-for-body` it
    passes on a head before the body is there: the requests of clients that write both apart would
    be lost with their ingress replica.

    An `Expect: 100-continue` ends here. If the server answers such a request before it has read the
    body, HAProxy 2.8 may pass on the answer's head without its body. The first
    `wait-for-body` sends the client its `100 Continue`, and waits for the body's first byte.
    """
    head_ms, body_ms = _ms(settings.head_timeout_s), _ms(settings.body_timeout_s)
    per_address = max(1, int(maxconn * settings.share_per_address))
    return f"""
    stick-table type ipv6 size 100k expire 1m store conn_cur
    tcp-request connection reject if {{ src_conn_cur ge {per_address} }}
    tcp-request connection track-sc0 src
    http-request wait-for-body time {head_ms}ms at-least 1 if {{ req.hdr(expect) -m found }}
    http-request wait-for-body time {body_ms}ms if {{ fe_conn lt {settings.buffered_bodies} }}
    http-request del-header expect"""


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _error_file_lines(folder: Path) -> list[str]:
    return [f"    errorfile {status} {_error_file(folder, status)}\n" for status in _ANSWERS]


def write_error_files(folder: Path) -> None:
    """Write HAProxy's own answers, in the JSON form of the graph's errors."""
    folder.mkdir(exist_ok=True)
    for status, (error, message) in _ANSWERS.items():
        body = _body(error, message)
        head = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "cache-control: no-store",
        ]
        if status in (502, 503):
            head.append(f"retry-after: {_RETRY_AFTER_S}")
        answer = "\r\n".join([*head, "", body])
        _error_file(folder, status).write_bytes(answer.encode())


def _error_file(folder: Path, status: int) -> Path:
    return folder / f"{status}.http"


def _body(error: type[FaceGraphError], message: str) -> str:
    body = ErrorBody(code=error.code, message=message, details={})
    return ErrorResponse(error=body, request_id="").model_dump_json()


def open_files() -> int:
    """The files that HAProxy may open: it raises the soft limit to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 30 if hard == resource.RLIM_INFINITY else hard


def most_connections(wanted: int, open_files: int) -> int:
    """The connections of clients that HAProxy can take with that many open files.

    HAProxy itself counts two files for each, and does not start where it has fewer. A connection
    without a whole request takes one.
    """
    return min(wanted, open_files - min(_OTHER_FILES, open_files // 2))
