"""configs/alerts.yaml and the alerts that the Helm chart adds: Prometheus reads them, they fire
when they should, and they use metrics, labels and codes that exist."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import yaml

from configs.limits import RequestLimits
from deployments.errors import FaceGraphError, GalleryDiskFull
from graph.cluster.launch import RunningGraph
from graph.pipeline.metrics import METRICS, REQUEST_SECONDS
from tests.docs.test_references import anchors
from tests.graph.pipeline.test_metrics import exported
from tests.support.chart import CHART, EVERYTHING, only, rendered, run_helm
from tests.support.photos import YAOMING, photo_bytes
from tests.support.profiles import ROOT
from tests.support.promql import SERVES_LABELS, label_names, metric_names
from tests.support.waiting import wait_until

FILE = ROOT / "configs/alerts.yaml"


def spec() -> dict[str, Any]:
    """The rules of the chart's PrometheusRule."""
    rule = only(rendered("profile=cpu", *EVERYTHING), "PrometheusRule")
    content: dict[str, Any] = rule["spec"]
    return content


def alerts() -> list[dict[str, Any]]:
    return [rule for group in spec()["groups"] for rule in group["rules"]]


def alert(name: str) -> dict[str, Any]:
    (found,) = (rule for rule in alerts() if rule["alert"] == name)
    return found


def promtool(*arguments: str | Path, folder: Path = ROOT) -> str:
    program = shutil.which("promtool")
    assert program, "promtool is missing: Debian's package prometheus has it"
    done = subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_reads_the_file() -> None:
    assert "SUCCESS: 9 rules found" in promtool("check", "rules", FILE)


def test_every_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec()))
    cases = ROOT / "tests/data/alerts_test.yaml"
    shutil.copy(cases, tmp_path)
    promtool("test", "rules", cases.name, folder=tmp_path)
    tested = {
        test["alertname"]
        for case in yaml.safe_load(cases.read_text())["tests"]
        for test in case["alert_rule_test"]
        if "exp_alerts" in test
    }
    assert tested == {rule["alert"] for rule in alerts()}


def test_every_alert_says_how_urgent_it_is_and_where_to_look() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning")
        notes = rule["annotations"]
        assert notes["summary"]
        assert notes["description"]
        page, _, anchor = notes["runbook_url"].partition("#")
        assert anchor == rule["alert"].lower()
        assert anchor in anchors(ROOT / page)


def test_runbooks_may_be_at_an_address_of_ones_own() -> None:
    values = (*EVERYTHING, "monitoring.docsUrl=https://wiki.example.org/facegraph/")
    groups = only(rendered(*values), "PrometheusRule")["spec"]["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        url = rule["annotations"]["runbook_url"]
        assert url.startswith("https://wiki.example.org/facegraph/docs/observing.md#")


def test_missing_metrics_are_those_of_the_releases_own_application(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        (ROOT / "serve_config.yaml").read_text().replace("name: facegraph", "name: shop")
    )
    monitored = ("--set", "monitoring.enabled=true", "--set-file", f"serveConfig={file}")
    printed = run_helm("template", "own", str(CHART), "--namespace", "mall", *monitored)
    series = 'ray_serve_deployment_replica_healthy{namespace="mall",application="shop"}'
    assert f"expr: absent({series})" in printed


def test_each_deployment_that_scales_has_an_alert_at_its_maximum() -> None:
    found = [rule["expr"] for rule in alerts() if rule["alert"] == "FaceGraphAtMaximum"]
    assert [(expr.split('deployment="')[1].split('"')[0], expr.split()[-1]) for expr in found] == [
        ("Ingress", "8"),
        ("Detector", "16"),
        ("Aligner", "8"),
        ("Recognizer:arcface", "16"),
        ("Aggregator", "4"),
        ("Gallery", "4"),
    ]


def test_they_use_metrics_and_labels_that_exist() -> None:
    tags = {metric.exported_name: set(metric.tags) | SERVES_LABELS for metric in METRICS}
    for rule in alerts():
        names = metric_names(rule["expr"])
        own = {name for name in names if name.startswith("ray_facegraph_")}
        assert names
        assert own <= tags.keys()
        for name in names:  # Prometheus adds the namespace
            known = tags.get(name, SERVES_LABELS)
            assert label_names(rule["expr"]) <= known | {"namespace"}


def test_the_failures_are_the_errors_that_are_the_services_own() -> None:
    kinds: list[type[FaceGraphError]] = [
        FaceGraphError,
        *FaceGraphError.__subclasses__(),
        GalleryDiskFull,
    ]
    codes = {kind.code for kind in kinds if kind.status >= 500}
    never_answered = {"invalid_config", "unexpected_answer"}  # for the one who starts or calls it
    (_, listed, _) = alert("FaceGraphRequestsFail")["expr"].split('"')
    assert set(listed.split("|")) == codes - never_answered


def test_slow_is_a_third_of_the_default_deadline_and_an_end_of_a_bucket() -> None:
    limit_s = float(alert("FaceGraphSlow")["expr"].rpartition("> ")[2])
    assert limit_s == RequestLimits().timeout_s / 3
    assert limit_s in REQUEST_SECONDS.boundaries


def test_serves_metrics_that_they_ask_for_are_exported(
    http: httpx.Client, running: RunningGraph
) -> None:
    http.post("/v1/embed", files={"image": photo_bytes(YAOMING)})
    asked = {name for rule in alerts() for name in metric_names(rule["expr"])}
    serves = {name for name in asked if name.startswith("ray_serve_")}
    assert serves
    wait_until(lambda: serves <= exported().keys())  # exported every ten seconds
