from pathlib import Path

import pytest
from pydantic import SecretStr

from esb.config.routes import Routes, load_routes
from esb.config.values import Rate, seconds
from esb.errors import ConfigError

GOOD = """
endpoints:
  his:
    adapter: soap
    dialect: his_soap
    settings: {wsdl: $file.his.wsdl, password: $secret.his_password, url: '$env.HIS ?? http://127.0.0.1', cost: $$5}
    envelope: [{xml_string: {parameter: xml}}, sealed]
    limits: {concurrency: 8, rate: 50/s, breaker: 5 in 30s for 2s}
    site: {hospital: '1001'}
routes:
  schedule.list: {to: his, timeout: 3s, retry: 2, cache: 5s}
  registration.lock: {to: his, settle: registration.find, settle_after: [100ms, 2s]}
"""


def read(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Routes:
    (tmp_path / "his.wsdl").write_text("<x/>")
    file = tmp_path / "routes.yaml"
    file.write_text(text, encoding="utf-8")
    return load_routes(file, environ or {"ESB_SECRET_HIS_PASSWORD": "pw"}, tmp_path / "secrets")


def test_a_route_file_becomes_numbers_with_units(tmp_path: Path) -> None:
    routes = read(tmp_path, GOOD)
    his, lock = routes.endpoints["his"], routes.routes["registration.lock"]
    assert his.limits.rate == Rate(count=50, per_s=1.0)
    assert (his.limits.breaker.failures, his.limits.breaker.window_s, his.limits.breaker.open_s) == (5, 30, 2)
    assert his.envelope == (("xml_string", {"parameter": "xml"}), ("sealed", {}))
    assert (lock.timeout_s, lock.retry.times, lock.settle_after_s) == (8, 0, (0.1, 2))
    assert routes.routes["schedule.list"].cache_s == 5


def test_values_come_from_outside_and_secrets_do_not_print(tmp_path: Path) -> None:
    settings = read(tmp_path, GOOD).endpoints["his"].settings
    assert settings["url"] == "http://127.0.0.1"
    assert settings["cost"] == "$5"
    assert settings["wsdl"] == (tmp_path / "his.wsdl").resolve()
    assert isinstance(settings["password"], SecretStr)
    assert "pw" not in repr(settings)


def test_a_secret_file_wins_over_the_environment(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "his_password").write_text("from-file\n")
    password = read(tmp_path, GOOD).endpoints["his"].settings["password"]
    assert password.get_secret_value() == "from-file"


def test_every_mistake_is_found_at_once_with_place_and_nearest_word(tmp_path: Path) -> None:
    bad = """endpoints:
  his:
    adapter: soap
    dialct: his_soap
    settings: {wsdl: $file.none.wsdl, password: $secret.none, url: $env.NONE, odd: $what}
    limits: {concurrency: 0, rate: 50/x}
routes:
  a.b: {to: hos, timeout: 3}
  c.d: {to: hiss, cach: 5s}
calbacks: {}
"""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, bad)
    text = [str(finding).split("routes.yaml:", 1)[1] for finding in caught.value.findings]
    assert text == [
        "2:3: key 'dialect' is missing",
        "4:5: unknown key 'dialct' (did you mean 'dialect'?)",
        "5:22: file 'none.wsdl' does not exist (the path is relative to routes.yaml)",
        "5:49: secret 'none' does not exist (put it into the secrets folder (ESB_SECRETS) as 'none')",
        "5:68: environment variable 'NONE' does not exist (set it, or give a default: $env.NONE ?? value)",
        "5:84: '$what' is not a value (use $env.NAME, $secret.name or $file.path; $$ for a dollar)",
        "6:27: 'concurrency' should be greater than or equal to 1",
        "6:36: 'rate' must be a rate such as 50/s or 300/m",
        "8:13: endpoint 'hos' does not exist (did you mean 'his'?)",
        "8:27: 'timeout' must be a duration such as 500ms, 3s, 15m or 6h",
        "9:13: endpoint 'hiss' does not exist (did you mean 'his'?)",
        "9:19: unknown key 'cach' (did you mean 'cache'?)",
        "10:1: unknown section 'calbacks' (did you mean 'callbacks'?)",
    ]


@pytest.mark.parametrize("value", [3, "3", "3 s", "s", "-1s", None, True])
def test_a_duration_must_say_its_unit(value: object) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        seconds(value)


def test_a_secret_name_cannot_leave_its_folder(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    with pytest.raises(ConfigError, match=r"secret '\.\./outside' does not exist"):
        read(tmp_path, GOOD.replace("$secret.his_password", "$secret.../outside"))


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("dialect: his_soap", "dialect: ../his_soap", "'dialect' String should match pattern"),
        ("retry: 2", "retry: true", "'retry' should be a whole number"),
    ],
)
def test_nonsense_is_a_finding(tmp_path: Path, old: str, new: str, finding: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError, match=finding):
        read(tmp_path, GOOD.replace(old, new))


def test_a_queued_route_says_how_long_it_is_tried_and_what_keeps_its_order(tmp_path: Path) -> None:
    line = "{to: his, deliver: queued, retry: 20 over 6h, ordered: $orderNo, priority: low, ttl: 2h}"
    unlock = read(tmp_path, f"{GOOD}  registration.unlock: {line}\n").routes["registration.unlock"]
    assert (unlock.is_queued, unlock.retry.times, unlock.retry.over_s) == (True, 20, 21600)
    assert (unlock.ordered, unlock.priority, unlock.ttl_s) == ("$orderNo", "low", 7200)


@pytest.mark.parametrize("written", ["over 6h", "20 in 6h", "20 over six", "-1", "ordered: orderNo", "$orderNo | text"])
def test_what_is_no_retry_and_no_path_is_a_finding(tmp_path: Path, written: str) -> None:
    key = "ordered" if "rder" in written else "retry"
    line = f"  registration.unlock: {{to: his, deliver: queued, {key}: '{written.removeprefix('ordered: ')}'}}\n"
    with pytest.raises(ConfigError, match=f"'{key}'"):
        read(tmp_path, GOOD + line)
