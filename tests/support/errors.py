"""The errors that the HTTP API answers with."""

from deployments.errors import MethodNotAllowed
from graph.http.routes import ROUTES

# A wrong method is no error of a route, since no route is found.
ANSWERED = {kind for route in ROUTES for kind in route.errors} | {MethodNotAllowed}
STATUS = {kind.code: kind.status for kind in ANSWERED}
