"""Service times: worker-seconds that one request costs each stage, in a JSON file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from configs.base import Config
from deployments.errors import InvalidConfig

RequestKind = Literal["compare", "embed", "detect"]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# Times of the default models, measured for this version.
SHIPPED = Path(__file__).with_suffix(".json")
# Times of configs/profiles/gpu.yaml, in worker-seconds. Detector: one replica of an earlier version
# did at most 212 comparisons of two 640-px photos a second; a replica has 4 workers. Recognizers:
# the share of an H100's time that two chips take in batches of 64, times 2 workers; FRFM and FRIR
# in float32. The other stages are those of the default models.
SHIPPED_GPU = Path(__file__).with_name("service_times_gpu.json")


class ServiceTimes(Config):
    """The file that `facegraph plan --measure --save` writes."""

    request: RequestKind = Field(default="compare", description="The route that was called.")
    measured_on: str = Field(description="The machine's kind.")
    requests: int | None = Field(
        default=None,
        ge=1,
        description="Number of requests that were measured; null for times worked out otherwise.",
    )
    cost_s: dict[str, Seconds] = Field(
        description="By deployment: seconds that its workers compute for one request."
    )


def read_service_times(path: Path) -> ServiceTimes:
    """Read a file of service times; raises InvalidConfig naming each fault."""
    try:
        return ServiceTimes.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidConfig(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}"
            for one in error.errors()
        ]
        raise InvalidConfig(f"{path}: {'; '.join(faults)}") from error
