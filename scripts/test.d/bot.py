"""Runs the real daemon for a check, in a folder of its own."""

import os
import pathlib
import signal
import subprocess
import tempfile
import time

from standin import ROOT, TOKEN


class Bot:
    """`with Bot(TELEGRAM_API_URL=…, GEMINI_API_URL=…) as bot:`; its log is in `bot.log()`.

    `wrap` is a command that runs the program, `environment` what it finds beside PATH.
    """

    def __init__(self, wrap=(), environment=None, **settings):
        self.wrap, self.environment = wrap, environment or {}
        self.program = os.environ.get("SVS_BOT", str(ROOT / "target" / "debug" / "svs-bot"))
        self.folder = tempfile.TemporaryDirectory(prefix="svs-bot-check-")
        self.path = pathlib.Path(self.folder.name)
        defaults = {
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "GEMINI_API_KEY": "check-key-1",
            "HTTP_ADDR": "off",
            # The stand-in has no limits, and a check should not wait for any.
            **{name: "0" for name in ("KEY_MIN_INTERVAL", "KEY_RPM", "LITE_RPD", "FLASH_RPD", "PRO_RPD", "PRO_RPM")},
            "LOG_LEVEL": "debug",
        }
        lines = (f"{name}={value}" for name, value in {**defaults, **settings}.items())
        (self.path / "env").write_text("\n".join(lines) + "\n")
        (self.path / "env").chmod(0o600)

    def __enter__(self):
        command = [*self.wrap, self.program, "run", "--env-file", self.path / "env", "--data-dir", self.path / "data"]
        with open(self.path / "log", "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={"PATH": os.environ["PATH"], **self.environment}
            )
        return self

    def log(self):
        return (self.path / "log").read_text(errors="replace")

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=15)
        if kind is not None or code != 0:
            print(self.log()[-4000:])
        self.folder.cleanup()
        assert kind is not None or code == 0, f"the daemon ended with {code}"


FAKETIME = ["usr/lib/*/faketime/libfaketimeMT.so.1", "usr/lib/faketime/libfaketimeMT.so.1"]


def wall_clock(**how):
    """What a program finds beside PATH so that libfaketime tells it the wall clock, and only that."""
    found = [path for pattern in FAKETIME for path in pathlib.Path("/").glob(pattern)]
    assert found, "libfaketime is missing: install the package faketime, or run scripts/test --set-up"
    return {"LD_PRELOAD": str(found[0]), "FAKETIME_DONT_FAKE_MONOTONIC": "1", **how}


def until(seconds, what, look):
    """Waits until `look()` gives something true, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")
