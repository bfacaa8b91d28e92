"""`make pictures`: takes the pictures of the admin that the README shows, from the shop that `make demo` leaves.

Needs Chromium. Playwright drives it.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).parent
MANAGE = DOCS.parent / "testproject" / "manage.py"
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


@contextmanager
def admin() -> Iterator[str]:
    """Serve the admin of the shop; its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = subprocess.Popen([sys.executable, MANAGE, "runserver", "--noreload", str(port)], env=os.environ)
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}/admin/"
    finally:
        served.terminate()
        served.wait()


def wait_for(port: int) -> None:
    """Wait up to a minute until somebody listens on the port."""
    for _ in range(600):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("The shop's admin didn't start within a minute.")


def log_in(page: Page, url: str) -> None:
    """As the user that the demo made."""
    page.goto(url)
    page.fill("#id_username", "demo")
    page.fill("#id_password", "demo")
    page.click("[type=submit]")


def main() -> None:
    """Take the pictures."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or sys.exit("apt-get install chromium")
    with admin() as url, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=list(OPTIONS))
        page = browser.new_page(viewport={"width": 1280, "height": 620})
        log_in(page, url)
        page.click("#content-main >> text=Dead letters")
        page.screenshot(path=DOCS / "admin-dead-letters.png")
        browser.close()


if __name__ == "__main__":
    main()
