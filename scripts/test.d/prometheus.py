#!/usr/bin/env python3
"""Metrics, alerts and dashboard before the real Prometheus.

promtool judges the live `/metrics` and runs the alerts' own test cases. Then a real Prometheus,
with the shipped alerts, scrapes a real run: every target must be up, every query of the dashboard
and every alert must be understood, and the queries must find series. Nothing here is skipped: a
missing tool is a failure.
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from bot import Bot, until
from standin import ROOT, StandIn, free_port, post

ALERTS = ROOT / "scripts" / "prometheus-alerts.yml"
CASES = ROOT / "tests" / "prometheus" / "alerts_test.yml"
DASHBOARD = ROOT / "scripts" / "grafana-dashboard.json"
# What a run without any trouble has nothing to show for.
MAY_BE_EMPTY = ("svs_bot_telegram_errors_total", "changes(process_start_time_seconds")
# Families that answer no question of their own on a dashboard.
NOT_SHOWN = {"svs_bot_build_info", "svs_bot_disk_bytes", "svs_bot_sync_enabled"}
SCRAPES = 5


def main():
    promtool = need("promtool")
    run(promtool, "check", "rules", ALERTS)
    run(promtool, "test", "rules", CASES)
    address = f"127.0.0.1:{free_port()}"
    with StandIn("--unlimited", "--username", "svs_bot", "--supabase-key", "sb_secret_check") as standin:
        settings = {
            "TELEGRAM_API_URL": standin.telegram,
            "GEMINI_API_URL": standin.gemini,
            "SUPABASE_URL": standin.postgrest,
            "SUPABASE_KEY": "sb_secret_check",
            "SYNC_INTERVAL": "1s",
            "HTTP_ADDR": address,
            "HTTP_TOKEN": "a-token",
        }
        with Bot(**settings):
            until(60, "the bot", lambda: get(f"http://{address}/readyz", "a-token"))
            text = get(f"http://{address}/metrics", "a-token")
            said = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
            assert said.returncode == 0 and not said.stderr, f"promtool check metrics:\n{said.stderr}"
            families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE svs_bot_")}
            missing = [name for name in families - NOT_SHOWN if name not in DASHBOARD.read_text()]
            assert not missing, f"not on the dashboard: {sorted(missing)}"
            scrape(address, standin)


def scrape(address, standin):
    with Prometheus(address, "a-token") as api:
        talk = iter(range(1, 10_000))

        def scraped():
            # Traffic between the scrapes, so that rates have something to rise by.
            post(f"{standin.telegram}/control/text", {"chat": 7, "user": 7, "text": f"question {next(talk)}"})
            count = query(api, "count_over_time(up[1h])") if get(f"{api}/query?query=1") else []
            return count and float(count[0]["value"][1]) >= SCRAPES

        until(90, "the scrapes", scraped)
        until(30, "answers in a rate", lambda: float(query(api, "sum(rate(svs_bot_answers_total[1m]))")[0]["value"][1]) > 0)
        judge(api)


class Prometheus:
    """The real one with the shipped alerts; `with Prometheus(address) as api:`."""

    def __init__(self, address, token=None):
        self.address, self.token, self.program = address, token, need("prometheus")

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="svs-prometheus-")
        path, port = pathlib.Path(self.folder.name), free_port()
        config = path / "prometheus.yml"
        secret = f"  authorization: {{credentials: {self.token}}}\n" if self.token else ""
        # As docs/operations.md says, but for the pace.
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
            f"rule_files: ['{ALERTS}']\n"
            f"scrape_configs:\n- job_name: svs-bot\n{secret}"
            f"  static_configs: [{{targets: ['{self.address}']}}]\n"
        )
        self.log = path / "log"
        with open(self.log, "wb") as log:
            self.server = subprocess.Popen(
                [
                    self.program, f"--config.file={config}", f"--storage.tsdb.path={path}/data",
                    f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
                ],
                stdout=log, stderr=log,
            )
        return f"http://127.0.0.1:{port}/api/v1"

    def __exit__(self, kind, *_):
        if kind is not None:
            print(self.log.read_text(errors="replace")[-2000:])
        self.server.terminate()
        self.server.wait(timeout=30)
        self.folder.cleanup()


def judge(api):
    targets = json.loads(get(f"{api}/targets"))["data"]["activeTargets"]
    assert [it["health"] for it in targets] == ["up"], targets
    groups = json.loads(get(f"{api}/rules"))["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    shipped = ALERTS.read_text().count("- alert: ")
    assert len(rules) == shipped > 10, f"{len(rules)} of {shipped} alerts are loaded"
    sick = [rule["name"] for rule in rules if rule["health"] == "err"]
    assert not sick, f"alerts that Prometheus cannot evaluate: {sick}"
    firing = [rule["name"] for rule in rules if rule["state"] == "firing"]
    assert not firing, f"alerts of a healthy run: {firing}"
    queries = expressions(json.loads(DASHBOARD.read_text()))
    assert len(queries) > 25, f"only {len(queries)} queries: is the dashboard still written as this test reads it?"
    for text in queries:
        text = text.replace("$__rate_interval", "1m").replace("$instance", ".*")
        found = query(api, text)
        if not text.startswith(MAY_BE_EMPTY) and not any(name in text for name in MAY_BE_EMPTY):
            assert found, f"no series for {text}"
    print(f"{len(queries)} queries of the dashboard, {len(rules)} alerts")


def expressions(node):
    """Every `expr` of the dashboard, however deep."""
    if isinstance(node, dict):
        own = [node["expr"]] if isinstance(node.get("expr"), str) else []
        return own + [text for value in node.values() for text in expressions(value)]
    if isinstance(node, list):
        return [text for value in node for text in expressions(value)]
    return []


def query(api, text):
    reply = get(f"{api}/query?{urllib.parse.urlencode({'query': text})}")
    assert reply, f"Prometheus refuses {text}"
    return json.loads(reply)["data"]["result"]


def get(url, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as reply:
            return reply.read().decode()
    except (urllib.error.URLError, OSError):
        return ""


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"


def need(name):
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    assert path, f"{name} is missing: install the package prometheus, or run scripts/test --set-up"
    return path


if __name__ == "__main__":
    main()
    print("ok")
