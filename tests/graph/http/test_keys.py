"""API keys: their sources, the faults of a keys file, and its reload."""

import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from configs.access import AccessConfig
from deployments.errors import InvalidConfig
from graph.http.keys import KeyRing, new_key, parse_keys
from tests.graph.commands.test_main import facegraph

KEYS = {name: new_key() for name in ("phone", "batch", "old")}


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


def write(file: Path, *names: str) -> None:
    file.write_text("".join(f"{name}: {digest(KEYS[name])}\n" for name in names))


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
        ("phone: {sha256: " + digest(KEYS["phone"]) + ", limit: 3}", "phone.limit: unknown key"),
    ],
    ids=["a key", "a list", "no names", "a name with a space", "no YAML", "a misspelt field"],
)
def test_an_invalid_keys_file_is_refused_without_showing_its_values(text: str, fault: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_keys(text, "keys.yaml")
    assert fault in caught.value.message
    assert KEYS["phone"] not in caught.value.message


def test_a_missing_file_and_a_name_given_twice_stop_the_start(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    with pytest.raises(InvalidConfig, match="FileNotFoundError"):
        ring_of(file)
    write(file, "phone")
    with pytest.raises(InvalidConfig, match="two keys are called 'phone'"):
        KeyRing(AccessConfig(keys={"phone": digest("another")}, keys_file=file))


def test_the_command_shows_a_key_once_and_keeps_its_digest(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text("# who uses the graph\n" + f"old: {digest(KEYS['old'])}")
    done = facegraph("keys", "new", "phone", "--file", file)
    key = done.stdout.strip()
    assert done.returncode == 0, done.stderr
    assert len(key) > 40
    assert key not in file.read_text()
    assert key not in done.stderr
    assert file.read_text().startswith("# who uses the graph\n")
    ring = ring_of(file)
    assert (name_of(ring, key), name_of(ring, KEYS["old"])) == ("phone", "old")
    again: subprocess.CompletedProcess[str] = facegraph("keys", "new", "phone", "--file", file)
    assert again.returncode == 1
    assert "there is a key for 'phone'" in again.stderr
    assert facegraph("keys", "new", "a name", "--file", file).returncode == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys.yaml"]
