"""What the dashboard and the alerts ask for is there: every query against a served /metrics.

Each is parsed as PromQL; its metrics, their labels and the values it selects must be in what a
service shows that has answered, refused, rejected, failed and lost requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import promql_parser as promql
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from staging import service

from service.engines.base import Completion, Prompt
from service.engines.scripted import ScriptedEngine
from service.errors import EngineError, ServiceError
from service.strategies import STRATEGIES
from service.traces.keeper import Keeper
from service.traces.retention import Retention
from service.traces.store import Store

ROOT = Path(__file__).parents[1]
DASHBOARD = ROOT / "docker/grafana/dashboards/surefoot.json"
ALERTS = ROOT / "docker/prometheus/alerts.yml"
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
VARIABLES = {"$instance": ".*", "$__rate_interval": "1m"}  # Grafana puts them in
SCRAPED = {"job", "instance"}  # Prometheus puts these on every series
MONOTONE = {"rate", "irate", "increase"}


class Troubled(ScriptedEngine):
    """Fails, and turns away, where the question says so."""

    async def complete(self, prompts: Any, *rest: Any) -> list[Completion]:
        asked: Prompt = prompts[0]
        if "fail" in asked.messages[-1].content:
            raise EngineError("It failed.")
        if "reject" in asked.messages[-1].content:
            error = ServiceError("Too many.")
            error.status, error.code = 429, "engine_overloaded"
            raise error
        return await super().complete(prompts, *rest)


@pytest.fixture(scope="module")
def families() -> dict[str, Metric]:
    """What a service of some experience shows, by the names of samples."""
    keeper = Keeper(Store("sqlite://"), Retention(1, 100, 1), content=False)
    with service(Troubled(), keeper=keeper) as client:
        for name in STRATEGIES:
            client.post("/solve", json={"problem": "3 and 4?", "strategy": name})
        for problem in ("fail", "reject"):
            client.post("/solve", json={"problem": problem})
        client.post("/solve", json={"problem": "3 and 4?", "budget": {"max_tokens": 1}})
        for probe in ("/health", "/ready", "/metrics"):
            client.get(probe)
        text = client.get("/metrics").text
    found: dict[str, Metric] = {}
    for family in text_string_to_metric_families(text):
        found |= dict.fromkeys((sample.name for sample in family.samples), family)
    return found


def dashboard() -> Iterator[tuple[str, str]]:
    """Every query of the dashboard, by its panel's title."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    for panel in panels:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[tuple[str, str]]:
    return [*dashboard(), *((rule["alert"], rule["expr"]) for rule in alerts())]


def nodes(expression: Any) -> list[Any]:
    seen: list[Any] = []
    promql.walk(expression, lambda node: seen.append(node))
    return seen


def parsed(query: str) -> list[Any]:
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    return nodes(promql.parse(query))


def selectors(within: list[Any]) -> list[promql.VectorSelector]:
    return [node for node in within if isinstance(node, promql.VectorSelector)]


def troubles(query: str, families: dict[str, Metric]) -> list[str]:
    """What the query asks for and does not find."""
    within = parsed(query)
    asked = selectors(within)
    found = [] if asked else ["no metric at all"]
    for selector in asked:
        found += _missing(selector, families)
    for node in within:
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            has = {label for s in selectors(nodes(node)) for label in _labels(s, families)}
            found += [f"label {label}" for label in set(node.modifier.labels) - has - SCRAPED]
        if isinstance(node, promql.Call) and node.func.name in MONOTONE:
            found += [f"{s.name} may fall" for s in selectors(nodes(node)) if _falls(s, families)]
    return found


def _missing(selector: promql.VectorSelector, families: dict[str, Metric]) -> Iterator[str]:
    name = selector.name or ""
    if name == "up":  # Prometheus's own
        return
    if name not in families:
        yield f"metric {name}"
        return
    labels = _labels(selector, families)
    for matcher in selector.matchers.matchers:
        if matcher.name in SCRAPED:
            continue
        values = labels.get(matcher.name, set())
        if not values:
            yield f"label {matcher.name} of {name}"
        for value in matcher.value.split("|"):
            if value not in values:
                yield f"{name} with {matcher.name}={value}"


def _labels(selector: promql.VectorSelector, families: dict[str, Metric]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    name = selector.name or ""
    for sample in families[name].samples if name in families else ():
        if sample.name == name:
            for label, value in sample.labels.items():
                found.setdefault(label, set()).add(value)
    return found


def _falls(selector: promql.VectorSelector, families: dict[str, Metric]) -> bool:
    name = selector.name or ""
    return name in families and families[name].type not in ("counter", "histogram")


@pytest.mark.parametrize(("title", "query"), queries())
def test_every_query_finds_what_it_asks_for(
    title: str, query: str, families: dict[str, Metric]
) -> None:
    assert troubles(query, families) == []


@pytest.mark.parametrize(
    ("query", "trouble"),
    [
        ("sum(rate(surefoot_gone_total[5m]))", "metric surefoot_gone_total"),
        ('rate(surefoot_tokens_total{sort="draft"}[5m])', "label sort of surefoot_tokens_total"),
        ('surefoot_tokens_total{kind="drafts"}', "surefoot_tokens_total with kind=drafts"),
        ("sum by (kinds) (surefoot_tokens_total)", "label kinds"),
        ("rate(surefoot_inflight[5m])", "surefoot_inflight may fall"),
        ("1 + 1", "no metric at all"),
    ],
)
def test_a_query_that_finds_nothing_would_be_seen(
    query: str, trouble: str, families: dict[str, Metric]
) -> None:
    assert trouble in troubles(query, families)


def test_there_are_queries_to_check() -> None:
    assert len(list(dashboard())) > 25
    assert len(alerts()) > 8


def test_every_metric_of_ours_is_asked_for(families: dict[str, Metric]) -> None:
    asked = {s.name for _, query in queries() for s in selectors(parsed(query))}
    shown = {families[name].name for name in asked if name in families}
    ours = {family.name for family in families.values() if family.name.startswith("surefoot_")}

    assert ours - shown == set()


def test_every_metric_is_explained_and_none_that_is_not_there(
    families: dict[str, Metric],
) -> None:
    rows = set(re.findall(r"^\| `((?:surefoot|process)_[a-z_]+)`", OPERATIONS, re.MULTILINE))
    served = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families.values()
    }

    assert rows == served


def test_every_label_of_ours_is_explained(families: dict[str, Metric]) -> None:
    rows = {
        name: set(re.findall(r"`([a-z]+)`", labels))
        for name, labels in re.findall(
            r"^\| `(surefoot_[a-z_]+)` \|([^|]*)\|", OPERATIONS, re.MULTILINE
        )
    }
    for family in families.values():
        if family.name.startswith("surefoot_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            assert rows[name] == labels, name


def test_every_alert_says_what_happened_and_its_page_what_to_do() -> None:
    for rule in alerts():
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert f"| `{rule['alert']}` |" in OPERATIONS


def test_the_panels_have_titles_and_explanations_and_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        own = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & own, panel["title"]
        cells |= own
        assert panel["type"] == "row" or panel["description"], panel["title"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_variable_of_the_dashboard_asks_a_metric_of_ours(families: dict[str, Metric]) -> None:
    (variable,) = json.loads(DASHBOARD.read_text(encoding="utf-8"))["templating"]["list"]
    found = re.fullmatch(r"label_values\((\w+), instance\)", variable["query"])

    assert found is not None
    assert found[1] in families


def test_a_scrape_is_text_that_prometheus_reads() -> None:
    with service() as client:
        response: httpx2.Response = client.get("/metrics")

    assert response.headers["content-type"].startswith("text/plain; version=")
