"""The graph's configuration: its defaults, its checks and their messages."""

from hashlib import sha256
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from configs.catalogue import CATALOGUE
from configs.graph import GraphConfig
from configs.model import BatchingConfig

DIGEST = sha256(b"a key").hexdigest()


def valid(**fields: object) -> GraphConfig:
    return GraphConfig.model_validate(fields)


def nested(path: str, value: object) -> dict[str, Any]:
    """{"a": {"b": value}} for "a.b"."""
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def fault(fields: dict[str, Any]) -> tuple[str, str]:
    """The path and the message of the only fault in the fields."""
    with pytest.raises(ValidationError) as caught:
        GraphConfig.model_validate(fields)
    [error] = caught.value.errors()
    return ".".join(map(str, error["loc"])), error["msg"]


def test_the_defaults_are_the_default_models_in_one_pool() -> None:
    config = GraphConfig()
    assert config.detector.model == "retinaface-mnet025"
    assert {name: pool.model for name, pool in config.recognizers.items()} == {
        "arcface": "arcface-mbf"
    }
    assert config.chosen_by_default == ("arcface",)
    assert config.recognizers["arcface"].decision_threshold == CATALOGUE["arcface-mbf"].threshold
    assert config.access.keys == {}
    assert GraphConfig.model_validate({}) == config


def test_a_full_configuration_comes_through_json_unchanged() -> None:
    config = valid(
        detector={"max_side": None, "score_threshold": 0.9},
        recognizers={"a": {}, "b": {"threshold": 0.5}},
        default_recognizers=["b", "a"],
    )
    assert GraphConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("detecter", {}),
        ("detector.theads", 2),
        ("detector.threads", 0),
        ("detector.threads", 1.5),
        ("detector.workers", 257),
        ("detector.runtime", "tensorflow"),
        ("detector.weights", 5),
        ("detector.max_side", 31),
        ("detector.max_side", "large"),
        ("detector.pad_multiple", 0),
        ("detector.score_threshold", 1),
        ("detector.score_threshold", -0.1),
        ("detector.score_threshold", float("nan")),
        ("detector.nms_iou", 0),
        ("detector.candidates", 0),
        ("detector.max_faces", 0),
        ("detector.drop_below_px", -1),
        ("recognizers", {}),
        ("recognizers", ["arcface"]),
        ("recognizers.arcface.max_batch_faces", 0),
        ("recognizers.arcface.threshold", 1.01),
        ("recognizers.arcface.treshold", 0.4),
        ("recognizers.arcface.max_side", 640),
        ("default_recognizers", "arcface"),
        ("aligner.workers", 0),
        ("aligner.threads", 1),
        ("aggregator.fusion", "median"),
        ("image_limits.max_bytes", 1023),
        ("image_limits.max_bytes", "12 MB"),
        ("image_limits.max_pixels", 0),
        ("request_limits.max_bytes", -1),
        ("request_limits.max_concurrent", 0),
        ("request_limits.timeout_s", 0),
        ("request_limits.timeout_s", float("nan")),
        ("request_limits.body_timeout_s", 0),
        ("request_limits.retry_after_s", 0),
        ("access.keys", "open sesame"),
        ("access.keys.phone", 12345),
        ("access.keys_reload_s", 0),
        ("access.key_limits.requests_per_s", 0),
        ("access.key_limits.max_concurrent", 0),
        ("access.allowed_origins", "https://example.org"),
    ],
)
def test_a_wrong_key_or_value_is_named_by_its_path(path: str, value: object) -> None:
    assert fault(nested(path, value))[0] == path


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("detecter", {}, "unknown key (did you mean 'detector'?)"),
        ("detector.max_sid", 640, "unknown key (did you mean 'max_side'?)"),
        ("recognizers.arcface.treshold", 0.4, "unknown key (did you mean 'threshold'?)"),
        ("aligner.colour", 1, "unknown key; the known ones are workers, stuck_after_s"),
        (
            "detector.runtime",
            "openvno",
            "expected 'auto', 'onnxruntime', 'openvino' or 'torch' (did you mean 'openvino'?)",
        ),
        ("aggregator.fusion", "geometric", "expected 'mean', 'weighted' or 'max'"),
        (
            "detector.model",
            "retinaface-r5",
            "no detector 'retinaface-r5' in the catalogue (did you mean 'retinaface-r50'?);"
            " it has retinaface-mnet025, retinaface-r50, scrfd-500m",
        ),
    ],
)
def test_a_misspelt_key_or_choice_comes_with_the_right_one(
    path: str, value: object, expected: str
) -> None:
    named, message = fault(nested(path, value))
    assert (named, message.removeprefix("Value error, ")) == (path, expected)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("detector.model", "arcface-mbf"),
        ("detector.model", "retinaface"),
        ("recognizers.arcface.model", "retinaface-mnet025"),
        ("recognizers.arcface.model", "ArcFace-MBF"),
    ],
)
def test_a_model_must_be_of_the_catalogue_and_of_its_kind(path: str, model: str) -> None:
    named, message = fault(nested(path, model))
    assert named == path
    kind = "detector" if path.startswith("detector") else "recognizer"
    assert f"no {kind} '{model}' in the catalogue" in message
    for known in CATALOGUE.values():
        assert (f" {known.id}" in f" {message.rpartition('it has ')[2]}") == (known.kind == kind)


@pytest.mark.parametrize("name", ["a", "arcface", "0", "mask_2-eu", "a" * 32])
def test_a_pools_name_is_short_and_valid_in_a_deployments_name(name: str) -> None:
    assert valid(recognizers={name: {}}).chosen_by_default == (name,)


@pytest.mark.parametrize(
    "name", ["", "A", "-a", "_a", "a b", "a,b", "a:b", "a/b", "é", "a\n", "a" * 33]
)
def test_any_other_pool_name_is_refused_by_name(name: str) -> None:
    path, message = fault({"recognizers": {name: {}}})
    assert path == "recognizers"
    assert f"pool name {name!r}" in message


def test_default_recognizers_must_be_served() -> None:
    _, message = fault({"recognizers": {"a": {}, "b": {}}, "default_recognizers": ["b", "c"]})
    assert "default_recognizers: 'c' is not among recognizers (a, b)" in message


def test_the_default_is_the_first_pool_unless_others_are_named() -> None:
    pools: dict[str, object] = {"b": {}, "a": {}}
    assert valid(recognizers=pools).chosen_by_default == ("b",)
    assert valid(recognizers=pools, default_recognizers=["a"]).chosen_by_default == ("a",)


@pytest.mark.parametrize(
    "model", [model.id for model in CATALOGUE.values() if model.kind == "recognizer"]
)
def test_a_pools_threshold_is_the_catalogues_unless_it_is_configured(model: str) -> None:
    pools = valid(recognizers={"a": {"model": model}, "b": {"model": model, "threshold": 0.0}})
    usual, chosen = pools.recognizers["a"], pools.recognizers["b"]
    assert usual.decision_threshold == CATALOGUE[model].threshold
    assert usual.threshold_source == CATALOGUE[model].threshold_source
    assert (chosen.decision_threshold, chosen.threshold_source) == (0.0, "configured")


def test_api_keys_are_sha256_digests_and_stay_secret() -> None:
    config = valid(access={"keys": {"phone": DIGEST}})
    assert config.access.keys["phone"].sha256 == SecretStr(DIGEST)
    assert DIGEST not in repr(config)
    assert DIGEST not in str(config.model_dump(mode="json"))


@pytest.mark.parametrize("key", ["open sesame", "", DIGEST.upper(), DIGEST[:-1], f"{DIGEST}0"])
def test_a_key_that_is_no_digest_is_refused_by_its_name_and_never_shown(key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        valid(access={"keys": {"phone": key}})
    assert "access.keys.phone.sha256" in str(caught.value)
    assert "expected the key's SHA-256, 64 hex digits" in str(caught.value)
    assert not key or key not in str(caught.value)


def test_an_error_in_another_field_shows_no_key_either() -> None:
    with pytest.raises(ValidationError) as caught:
        valid(access={"keys": {"phone": DIGEST}}, default_recognizers=["nobody"])
    assert DIGEST not in str(caught.value)


def test_max_pixels_in_flight_is_at_least_one_photo() -> None:
    with pytest.raises(ValidationError, match="max_pixels_in_flight: 2000 is less than max_pixels"):
        valid(image_limits={"max_pixels": 3000, "max_pixels_in_flight": 2000})


def test_a_configuration_is_frozen() -> None:
    config = GraphConfig()
    for part, field in ((config, "detector"), (config.detector, "threads")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, field, 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_batch_size", 0),
        ("max_batch_size", 1025),
        ("batch_size", 4),
    ],
)
def test_batching_settings_out_of_bounds_are_named(field: str, value: float) -> None:
    with pytest.raises(ValidationError) as caught:
        BatchingConfig.model_validate({field: value})
    assert caught.value.errors()[0]["loc"] == (field,)


def test_a_default_recognizer_is_named_once() -> None:
    _, message = fault({"recognizers": {"a": {}}, "default_recognizers": ["a", "a"]})
    assert "default_recognizers: a name is there twice" in message


@pytest.mark.parametrize(
    ("args", "former", "name"),
    [
        ({"edges": {}}, "edges", "calls"),
        ({"calls": {"direct_up_to_bytes": 2}}, "direct_up_to_bytes", "inline_up_to_bytes"),
        ({"calls": {"merged_inference": 16}}, "merged_inference", "max_requests_per_call"),
        ({"retries": {"silent_after_s": 15}}, "silent_after_s", "hedge_after_s"),
        ({"request_limits": {"max_wait_s": 5}}, "max_wait_s", "max_queue_wait_s"),
    ],
)
def test_a_fields_former_name_is_refused_with_its_new_one(
    args: dict[str, Any], former: str, name: str
) -> None:
    with pytest.raises(ValidationError, match=f"{former} is now called {name}"):
        GraphConfig.model_validate(args)


@pytest.mark.parametrize("former", ["mode", "max_calls_in_flight", "merged_calls"])
def test_a_setting_that_is_gone_is_refused_with_what_came_instead(former: str) -> None:
    with pytest.raises(ValidationError, match=f"{former} is no longer a setting: "):
        GraphConfig.model_validate({"calls": {former: 1}})
