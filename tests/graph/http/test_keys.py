"""API keys: their sources, the faults of a keys file, and its reload."""

from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from configs.access import AccessConfig
from deployments.errors import InvalidConfig
from graph.http.keys import KeyRing, new_key, parse_keys

KEYS = {name: new_key() for name in ("phone", "batch", "old")}


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def write(file: Path, *names: str) -> None:
    file.write_text("".join(f"{name}: {digest(KEYS[name])}\n" for name in names))


def with_end(expires: str) -> str:
    return f"phone: {{sha256: {digest(KEYS['phone'])}, expires: {expires}}}"


def name_of(ring: KeyRing, key: str) -> str | None:
    client = ring.find(key.encode())
    return client.name if client else None


def ring_of(file: Path) -> KeyRing:
    # Only the test reloads the file.
    return KeyRing(AccessConfig(keys_file=file, keys_reload_s=3600))


def test_keys_come_from_the_configuration_the_environment_and_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.yaml"
    write(file, "batch")
    monkeypatch.setenv("FACEGRAPH_API_KEYS", f"{{old: {digest(KEYS['old'])}}}")
    ring = KeyRing(AccessConfig(keys={"phone": digest(KEYS["phone"])}, keys_file=file))
    assert {name_of(ring, key) for key in KEYS.values()} == {"phone", "batch", "old"}
    assert name_of(ring, new_key()) is None


def test_a_key_has_its_own_limits_or_those_of_all(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    write(file, "phone")
    with file.open("a") as lines:
        lines.write(f"batch: {{sha256: {digest(KEYS['batch'])}, limits: {{requests_per_s: 9}}}}")
    config = AccessConfig.model_validate({"keys_file": file, "key_limits": {"max_concurrent": 3}})
    ring = KeyRing(config)
    phone, batch = (ring.find(KEYS[name].encode()) for name in ("phone", "batch"))
    assert phone
    assert phone.limits.max_concurrent == 3
    assert batch
    assert (batch.limits.requests_per_s, batch.limits.max_concurrent) == (9, None)


@pytest.mark.parametrize(
    ("written", "end"),
    [
        ("2027-01-31", datetime(2027, 1, 31)),
        ("2027-01-31T12:30:00Z", datetime(2027, 1, 31, 12, 30)),
        ("2027-01-31 12:30:00", datetime(2027, 1, 31, 12, 30)),
        ("'2027-01-31T12:30:00+02:00'", datetime(2027, 1, 31, 10, 30)),
    ],
)
def test_a_keys_end_is_a_date_or_a_time_in_utc(written: str, end: datetime) -> None:
    expires = parse_keys(with_end(written), "keys.yaml")["phone"].expires
    assert expires == end.replace(tzinfo=timezone.utc)


def test_a_date_in_a_serve_file_needs_quotes_because_serve_deploy_sends_json() -> None:
    def keys(written: str) -> AccessConfig:
        content = f"keys: {{phone: {{sha256: {digest(KEYS['phone'])}, expires: {written}}}}}"
        return AccessConfig.model_validate(yaml.safe_load(content))

    assert keys('"2027-01-31"').keys["phone"].expires == datetime(2027, 1, 31, tzinfo=timezone.utc)
    with pytest.raises(ValidationError, match=r'expected quotes in a Serve file: "2027-01-31"'):
        keys("2027-01-31")


def test_a_changed_file_is_read_again_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    write(file, "old")
    ring = ring_of(file)
    write(file, "phone", "batch")
    ring.reload()
    assert [name_of(ring, KEYS[name]) for name in ("old", "phone")] == [None, "phone"]
    file.write_text("phone: [")
    ring.reload()
    assert name_of(ring, KEYS["phone"]) == "phone"
    file.unlink()
    ring.reload()
    assert name_of(ring, KEYS["phone"]) == "phone"
    write(file)
    ring.reload()
    assert name_of(ring, KEYS["phone"]) is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"phone: {KEYS['phone']}", "phone.sha256: Value error, expected the key's SHA-256"),
        (f"phone: [{KEYS['phone']}]", "phone: Input should be"),
        (f"{KEYS['phone']}", "keys: Input should be a valid"),
        (f"a key: {digest(KEYS['phone'])}", "expected letters, digits, . _ or -"),
        (f"phone: {KEYS['phone']}: x", "not YAML, line 1"),
        (f"phone: !!float {KEYS['phone']}", "keys.yaml: not YAML"),
        ("[" * 3000, "keys.yaml: not YAML"),
        ("phone: {sha256: " + digest(KEYS["phone"]) + ", limit: 3}", "phone.limit: unknown key"),
        (with_end(KEYS["phone"]), "phone.expires: Value error, expected a date or a date-time"),
        (with_end("2027-13-01"), "phone.expires: Value error, expected a date or a date-time"),
        (with_end("90"), "phone.expires: Value error, expected a date or a date-time"),
        (f"anonymous: {digest(KEYS['phone'])}", "'anonymous' stands for clients without a key"),
    ],
    ids=[
        "a key",
        "a list",
        "no names",
        "a name with a space",
        "no YAML",
        "another type",
        "endless nesting",
        "a misspelt field",
        "a key as its end",
        "no such month",
        "a number",
        "a reserved name",
    ],
)
def test_an_invalid_keys_file_is_refused_without_showing_its_values(text: str, fault: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_keys(text, "keys.yaml")
    assert fault in caught.value.message
    assert KEYS["phone"] not in caught.value.message


def test_a_missing_file_and_a_name_given_twice_stop_the_start(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    with pytest.raises(InvalidConfig, match=r"access\.keys_file: .*keys\.yaml: No such file"):
        ring_of(file)
    write(file, "phone")
    with pytest.raises(InvalidConfig, match="two keys are called 'phone'"):
        KeyRing(AccessConfig(keys={"phone": digest("another")}, keys_file=file))
