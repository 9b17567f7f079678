"""The dashboard, which queries the metrics that raypipe exports, in the format that Grafana reads."""

import json
import re

import pytest
import yaml

from raypipe.stages.metrics import get_metrics
from tests.stages.prometheus import DASHBOARDS, queries

OF_A_HISTOGRAM = ("_bucket", "_count", "_sum")


def test_every_panel_asks_for_metrics_that_exist() -> None:
    own = {metric.info["name"] for metric in vars(get_metrics()).values() if hasattr(metric, "info")}
    assert len(own) >= 12
    asked = queries()
    assert len(asked) >= 15
    for title, expressions in asked.items():
        for name in re.findall(r"ray_(raypipe_\w+)", " ".join(expressions)):
            plain = name.removesuffix("_total")
            for ending in OF_A_HISTOGRAM:
                plain = plain.removesuffix(ending)
            assert plain in own, f"{title}: {name}"


def test_the_dashboard_is_one_that_grafana_reads() -> None:
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    cogs = pytest.importorskip("grafana_foundation_sdk.cog.plugins")
    cogs.register_default_plugins()
    written = json.loads((DASHBOARDS / "grafana" / "raypipe.json").read_text())
    read = models.Dashboard.from_json(written)
    assert read.title == "raypipe"
    assert [panel.title for panel in read.panels] == [panel["title"] for panel in written["panels"]]
    assert all(panel.targets for panel in read.panels if isinstance(panel, models.Panel))


def test_the_data_source_of_every_panel_is_provisioned() -> None:
    folder = DASHBOARDS / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    panels = json.loads((DASHBOARDS / "grafana" / "raypipe.json").read_text())["panels"]
    assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {source["uid"]}
    assert source["url"].startswith("http://127.0.0.1:"), "servers stay on loopback"


def test_panels_do_not_overlap() -> None:
    taken = set()
    for panel in json.loads((DASHBOARDS / "grafana" / "raypipe.json").read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
