"""The running graph answers as /openapi.json says to the requests that schemathesis generates from
it, valid and invalid ones."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from graph.cluster.launch import RunningGraph
from graph.http.openapi import describe_api

API = schemathesis.openapi.from_dict(describe_api())


GALLERIES = r"^/v1/galleries"


# Schemathesis cannot write a BMP, and warns.
@pytest.mark.filterwarnings("ignore:Skipped test cases with unsupported payload")
@API.exclude(path_regex=GALLERIES).parametrize()
@settings(max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck))
def test_the_graph_answers_as_described(
    case: schemathesis.Case[Any], running: RunningGraph
) -> None:
    # No schema can say that only a photo is a valid image.
    case.call_and_validate(base_url=running.url, excluded_checks=[positive_data_acceptance])


# Many routes with much in common; schemathesis writes no NDJSON, which the import takes.
@pytest.mark.filterwarnings("ignore:Skipped test cases with unsupported payload")
@API.include(path_regex=GALLERIES).exclude(path_regex="import$").parametrize()
@settings(max_examples=6, derandomize=True, suppress_health_check=list(HealthCheck))
def test_galleries_answer_as_described(case: schemathesis.Case[Any], running: RunningGraph) -> None:
    case.call_and_validate(base_url=running.url, excluded_checks=[positive_data_acceptance])
