#!/usr/bin/env python3
"""The status page of a real run in a real browser: screenshots, its DOM, and its layout.

A daemon answers people of the stand-ins, a week of history lies before it, and headless Chromium
opens `/` at the width of a phone and of a desk, in light and in dark. The pictures stay in
scripts/.cache/page. The page itself runs no script: what is measured is measured in a copy of it.
"""

import fcntl
import html
import json
import os
import pathlib
import pty
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import tempfile
import termios
import time
import urllib.request

from bot import Bot, until
from standin import ROOT, StandIn, free_port, post

PICTURES = pathlib.Path(os.environ.get("SVS_BOT_CACHE", ROOT / "scripts" / ".cache")) / "page"
WIDTHS = {"phone": (390, 844, 2), "desk": (1280, 900, 1)}
SCHEMES = {"light": [], "dark": ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"]}
PEOPLE = 6
HEALTHY = (">ready<",)
TROUBLED = (">not ready<", "endlessendless", "svs-bot check tells", "leaked", "aistudio.google.com")
BROWSER_SECONDS_MAX = 120
# Runs in a copy of the page only: what sticks out of the window, and what overlaps.
MEASURE = """
const wide = [];
for (const it of document.querySelectorAll('body *')) {
  const box = it.getBoundingClientRect();
  const inside = it.closest('.wide');
  if (box.right > document.documentElement.clientWidth + 1 && !inside) {
    wide.push(it.tagName + '.' + it.className.toString() + ' ' + Math.round(box.right));
  }
}
const lost = [...document.querySelectorAll('svg text')].filter(it => {
  const text = it.getBoundingClientRect(), svg = it.ownerSVGElement.getBoundingClientRect();
  return text.left < svg.left - 1 || text.right > svg.right + 1;
}).map(it => it.textContent);
document.title = JSON.stringify({
  window: document.documentElement.clientWidth,
  tall: document.documentElement.scrollHeight,
  content: document.documentElement.scrollWidth,
  wide: wide.slice(0, 5), lost,
  scrolls: [...document.querySelectorAll('.wide')].filter(it => it.scrollWidth > it.clientWidth + 1)
    .map(it => it.parentElement.querySelector('h2').textContent + ' ' + it.scrollWidth + ' > ' + it.clientWidth),
  smallest: Math.min(...[...document.querySelectorAll('p,td,th,b,span,small')]
    .filter(it => it.textContent.trim()).map(it => parseFloat(getComputedStyle(it).fontSize))),
});
"""


def main():
    PICTURES.mkdir(parents=True, exist_ok=True)
    for old in PICTURES.glob("*.png"):
        old.unlink()
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    assert browser, "chromium is missing: install the package chromium, or run scripts/test --set-up"
    port = free_port()
    settings = {
        "HTTP_ADDR": f"127.0.0.1:{port}",
        "GEMINI_API_KEY": "",
        "GROUP_A_KEYS": "check-key-1@main,check-key-2@main",
        "GROUP_B_KEYS": "check-key-3",
        "ROUTER_KEY_A": "check-key-4",
        "LITE_RPD": "500",
        "FLASH_RPD": "20",
        "BOT_OWNER_ID": "990001",
        "SUPABASE_KEY": "sb_secret_check",
        "SYNC_INTERVAL": "1s",
    }
    with StandIn("--unlimited", "--username", "svs_bot", "--supabase-key", "sb_secret_check") as standin:
        settings |= {
            "TELEGRAM_API_URL": standin.telegram,
            "GEMINI_API_URL": standin.gemini,
            "SUPABASE_URL": standin.postgrest,
        }
        with Bot(**settings) as bot:
            url = f"http://127.0.0.1:{port}/"
            live(standin, bot, url)
            look(browser, url, "", HEALTHY)
            terminal(bot)
            trouble(standin, url)
            look(browser, url, "-trouble", TROUBLED)


def trouble(standin, url):
    """Telegram refuses in one endless word, and Google knows a key no more."""
    fault = {"method": "getUpdates", "times": 1_000, "refuse": [400, "Bad Request: " + "endless" * 60]}
    post(f"{standin.telegram}/control/fault", fault)
    post(f"{standin.gemini}/control/script", {"times": 1, "fail": "leaked"})
    # The poll that is open ends with it.
    post(f"{standin.telegram}/control/text", {"chat": 990_001, "user": 990_001, "text": "wake up"})
    until(60, "the trouble", lambda: status(url).get("ready") is False)
    until(60, "the dead key", lambda: any(key["state"] == "dead" for key in status(url)["keys"]))


def live(standin, bot, url):
    """People talk, a key is parked, and a week of history is there."""
    until(60, "the first poll", lambda: status(url).get("ready"))
    control = f"{standin.telegram}/control"
    for person in range(PEOPLE):
        user = 990_001 + person
        post(f"{control}/text", {"chat": user, "user": user, "text": f"question of person {person}"})
        post(f"{control}/text", {"chat": -1001, "user": user, "text": "admin, good evening"})
    until(90, "the answers", lambda: status(url)["week"][-1]["answers"] >= PEOPLE)
    folder = ["--env-file", bot.path / "env", "--data-dir", bot.path / "data"]
    subprocess.run([bot.program, "keys", "park", "3", *folder], check=True, capture_output=True)
    history(bot.path / "data" / "svs-bot.db")
    # The page is what the loop last published.
    until(60, "the history", lambda: status(url)["week"][0]["answers"] > 0)
    until(60, "the parked key", lambda: any(key["state"] == "parked" for key in status(url)["keys"]))


def history(path):
    """A week as a small group lives it: quiet nights, busy evenings, one bad hour."""
    dice = random.Random(7)
    hour = int(time.time()) // 3600
    rows = []
    for at in range(hour - 167, hour):
        answers = round(40 * max(0.02, 1 - abs((at % 24) - 13) / 11) * dice.uniform(0.6, 1.2))
        rows += [
            (at, "answers", answers),
            (at, "answer_ms", answers * dice.randint(1100, 3200)),
            (at, "tokens_in", answers * dice.randint(300, 700)),
            (at, "tokens_out", answers * dice.randint(80, 300)),
            (at, "backlog", max(0, 700 - 90 * abs(at - hour + 30))),
        ]
    with sqlite3.connect(path, timeout=30) as db:
        db.executemany("INSERT OR REPLACE INTO tally (hour, name, value) VALUES (?, ?, ?)", rows)
        now = int(time.time() * 1000)
        db.executemany(
            "INSERT INTO trouble (at_ms, place, text) VALUES (?, ?, ?)",
            [
                (now - 7_200_000, "sync", "connect: connection refused"),
                (now - 95_000, "gemini", "key 2: minute limit of gemini-3.8-flash"),
            ],
        )
    db.close()


def terminal(bot):
    """`status --watch` on a terminal that is too low for it: the first lines stay, nothing scrolls."""
    child, screen = pty.fork()
    if child == 0:
        os.execv(bot.program, [bot.program, "status", "--watch", "--env-file", bot.path / "env", "--data-dir", bot.path / "data"])
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    text = b""
    # The first picture may have been drawn before the size was told.
    while text.count(b"\x1b[H") < 3:
        text += os.read(screen, 65_536)
    os.kill(child, signal.SIGINT)
    os.close(screen)
    os.waitpid(child, 0)
    picture = text.decode(errors="replace").split("\x1b[H")[2]
    lines = picture.replace("\x1b[K", "").replace("\x1b[J", "").split("\r\n")
    assert len(lines) == 24 and lines[0].startswith("state") and "more lines" in lines[-1], lines
    assert any(line.startswith("day ") and "answers" in line for line in lines), lines
    assert all(len(line) <= 80 for line in lines), lines


def look(browser, url, suffix, parts):
    with tempfile.TemporaryDirectory(prefix="svs-page-") as folder:
        dom = chromium(browser, folder, ["--dump-dom", url])
        check_dom(dom, parts)
        for name, (width, height, scale) in WIDTHS.items():
            found = measure(browser, pathlib.Path(folder), dom, width, height)
            print(name, found)
            assert found["window"] == width, found
            assert found["content"] <= width, f"{name}: wider than its window: {found}"
            assert not found["wide"], f"{name}: sticks out: {found}"
            assert not found["scrolls"], f"{name}: a table must be scrolled sideways: {found}"
            assert not found["lost"], f"{name}: labels leave their drawing: {found}"
            assert found["smallest"] >= 12, f"{name}: too small to read: {found}"
            for scheme, flags in SCHEMES.items():
                # As tall as the page, so that all of it is in the picture.
                size = [f"--window-size={width},{found['tall']}", f"--force-device-scale-factor={scale}"]
                picture = PICTURES / f"{name}-{scheme}{suffix}.png"
                chromium(browser, folder, [*flags, *size, f"--screenshot={picture}", url])
                assert picture.stat().st_size > 20_000, f"{picture}: an empty picture"


def measure(browser, folder, dom, width, height):
    """In a frame, which is exactly as wide as it says: a window of this browser is never under 500."""
    (folder / "inner.html").write_text(dom.replace("</body>", f"<script>{MEASURE}</script></body>"))
    outer = folder / "outer.html"
    outer.write_text(
        f"<!doctype html><title>wait</title><iframe src=inner.html width={width} height={height}"
        " onload='document.title=this.contentDocument.title' style='border:0'></iframe>"
    )
    said = chromium(browser, folder, ["--allow-file-access-from-files", "--dump-dom", f"file://{outer}"])
    return json.loads(html.unescape(said.split("<title>")[1].split("</title>")[0]))


def check_dom(dom, parts):
    for part in (
        "<h1>svs-bot</h1>", "Last day", "Last week", "Answers", "Average latency", "Tokens", "Backlog",
        "Keys", "Quotas today", "forecast", "Supabase", "Last troubles", "parked", "main", "…ey-1", *parts,
    ):
        assert part in dom, f"the page lacks {part!r}"
    assert dom.count("<figure>") == 8, dom.count("<figure>")
    for chart in dom.split("<figure>")[1:]:
        chart = chart.split("</figure>")[0]
        assert chart.count("<text") >= 3 + 3, f"a chart without axes: {chart[:300]}"
        assert 'path d="M' in chart, f"an empty chart: {chart[:300]}"
    assert "class=\"meter" in dom, "no quota has a bar"
    for secret in ("check-key-1", "sb_secret_check", "stand-in"):
        assert secret not in dom, "a secret is on the page"
    assert "<script" not in dom and "question of person" not in dom


def chromium(browser, folder, args):
    profile = tempfile.mkdtemp(dir=folder)
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
        "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
        f"--user-data-dir={profile}", "--timeout=20000", *args,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=BROWSER_SECONDS_MAX)
    assert done.returncode == 0, f"chromium ended with {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


def status(url):
    try:
        with urllib.request.urlopen(f"{url}status.json", timeout=30) as reply:
            return json.load(reply)
    except OSError:
        return {}


if __name__ == "__main__":
    main()
    print("ok")
