"""The alerts and the dashboard name metrics that are served, and promtool agrees with the alerts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands
from prometheus_client.parser import text_string_to_metric_families

from ops import checks, health, prometheus
from tests.ops.test_prometheus import count
from tests.ops.test_samples import add
from tests.processes import REPOSITORY

MONITORING = REPOSITORY / "docs" / "monitoring"
RULES = [rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


def dashboard_expressions() -> Iterator[str]:
    for panel in json.loads((MONITORING / "dashboard.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


@pytest.mark.django_db
@pytest.mark.usefixtures("patient")
def test_every_expression_names_a_metric_that_is_served() -> None:
    health.clear_cache()
    families = list(text_string_to_metric_families(prometheus.scrape().decode()))
    served = {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}
    expressions = [rule["expr"] for rule in RULES] + list(dashboard_expressions())
    named = {name for expression in expressions for name in re.findall(r"relivchats_\w+", expression)}
    assert len(named) > 20
    assert named <= served


def test_an_alert_names_checks_and_commands_that_exist() -> None:
    known = {check.name for check in (*checks.ALL, *checks.VERBOSE)}
    for rule in RULES:
        for names in re.findall(r'check=~?"([^"]+)"', rule["expr"]):
            assert set(names.split("|")) <= known
        for command in re.findall(r"manage\.py (\w+)", rule["annotations"]["action"]):
            assert command in get_commands()


def test_every_item_of_the_escalation_list_is_an_alert() -> None:
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in RULES}
    critical = {"ApiUnreachable", "InsightsFail", "DatabaseUnavailable", "DiskNearlyFull"}
    warnings = {"ErrorRate", "QuotaErrors", "QueueLong", "MemoryGrows"}
    assert {severities[name] for name in critical} == {"critical"}
    assert {severities[name] for name in warnings} == {"warning"}


def _promtool(directory: Path) -> str:
    if found := shutil.which("promtool"):
        return found
    if shutil.which("apt-get") and shutil.which("dpkg"):
        subprocess.run(["apt-get", "download", "prometheus"], cwd=directory, capture_output=True)
        for package in directory.glob("prometheus_*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(directory)], check=True)
            return str(directory / "usr" / "bin" / "promtool")
    pytest.fail("promtool is missing: install Debian's package prometheus, or put promtool on PATH")


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.usefixtures("patient")
def test_promtool_accepts_the_metrics_the_alerts_and_their_tests(tmp_path: Path) -> None:
    promtool = _promtool(tmp_path)
    count(20, 700)
    add(1, minutes_ago=1)
    metrics = prometheus.scrape().decode()
    commands: tuple[list[Any], ...] = (
        ["check", "metrics"],
        ["check", "config", "--syntax-only", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    )
    for command in commands:
        done = subprocess.run([promtool, *command], cwd=MONITORING, input=metrics, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
