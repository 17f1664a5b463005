"""One journey in a real browser: upload, predict, reopen by address, export."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pandas as pd
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from xpert_core.cohorts import example_path

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium() -> str:
    """Path of a Chromium; without one the test is skipped, or fails where it is required."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found:
        return found
    message = "no Chromium was found on this machine; install Debian's package 'chromium'"
    if os.environ.get("XPERT_REQUIRE_BROWSER") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a dashboard started with the product's own command on an empty data folder."""
    folder = tmp_path_factory.mktemp("dashboard")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "XPERT_DATA_DIR": str(folder / "data"),
        "XPERT_CACHE_DIR": str(folder / "cache"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    environment.pop("XPERT_DATABASE_URL", None)
    command = [sys.executable, "-c", "from xpert_core.cli import main; main()", "app"]
    log = (folder / "log.txt").open("w")
    server = subprocess.Popen(
        [*command, "--port", str(port)],
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/_stcore/health", server, folder / "log.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)
        log.close()


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"The dashboard did not start:\n{log.read_text()[-2000:]}")


def upload_and_save(page: Page, cohort: Path) -> None:
    """From Home to a stored cohort."""
    expect(page.get_by_text("Scores beside the baselines")).to_be_visible()
    page.get_by_role("link", name="Cohort", exact=True).first.click()
    page.locator("input[type=file]").set_input_files(cohort)
    expect(page.get_by_text("of 978 landmark genes found")).to_be_visible()
    page.get_by_role("button", name="Save cohort and continue").click()


def choose_drug(page: Page) -> None:
    """One patient and, with a typing error, trametinib."""
    samples = page.get_by_test_id("stMultiSelect").filter(has_text="Samples")
    samples.get_by_role("button", name="Clear all").click()
    expect(page.get_by_text("0 of 3 samples chosen")).to_be_visible()
    samples.get_by_role("combobox").fill("Pt2")
    page.get_by_role("option", name="Pt2", exact=True).click()
    page.keyboard.press("Escape")
    expect(page.get_by_text("1 of 3 samples chosen")).to_be_visible()
    page.get_by_role("textbox", name="Name, synonym, mechanism or target").fill("trametinb")
    page.keyboard.press("Enter")
    page.get_by_test_id("stButtonGroup").get_by_text("trametinib").first.click()
    expect(page.get_by_role("button", name="Remove trametinib")).to_be_visible()
    expect(page.get_by_text("1 prediction:")).to_be_visible()


def predict(page: Page, previous: str = "") -> str:
    """Click Predict, wait for another result than `previous`; return its address."""
    clicked = time.monotonic()
    page.get_by_role("button", name="Predict", exact=True).click()
    link = page.get_by_role("link", name="Open it at its own address")
    expect(link).to_be_visible()
    expect(link).not_to_have_attribute("href", previous)
    print(f"result on the page {time.monotonic() - clicked:.1f} s after the click")
    address = link.get_attribute("href")
    assert address is not None and "run=" in address
    return address


def reopen_and_export(page: Page, address: str, target: Path) -> None:
    """Open a result by its address and download it as CSV."""
    page.goto(address)
    expect(page.get_by_text("Address of this result")).to_be_visible()
    expect(page.locator("[data-testid=stVegaLiteChart]").first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    download.value.save_as(target)


def place_a_drug(page: Page) -> None:
    """The Drugs page: a library drug among its neighbours, and both maps."""
    page.get_by_role("link", name="Drugs", exact=True).first.click()
    page.get_by_role("textbox", name="Drug name, identifier, InChIKey or SMILES").fill("gefitinib")
    page.keyboard.press("Enter")
    expect(page.get_by_text("A drug of the graph.")).to_be_visible()
    expect(page.get_by_role("heading", name="Nearest by biology")).to_be_visible()
    expect(page.locator("[data-testid=stVegaLiteChart]")).to_have_count(2)


def carry_choices(page: Page, address: str) -> None:
    """In a new session: the example's drugs are chosen on the next page and still on the first."""
    page.goto(address)
    chosen = page.get_by_role("button", name="Remove vemurafenib")
    page.get_by_role("button", name="Load the example").click()
    expect(page.get_by_text("102 predictions:")).to_be_visible()
    page.get_by_role("link", name="Molecule", exact=True).first.click()
    expect(page.get_by_role("button", name="Explain", exact=True)).to_be_enabled()
    expect(chosen).to_be_visible()
    page.get_by_role("link", name="Predict", exact=True).first.click()
    expect(page.get_by_text("102 predictions:")).to_be_visible()
    expect(chosen).to_be_visible()


def test_journey(chromium: str, address: str, tmp_path: Path) -> None:
    cohort, exported = tmp_path / "three.csv", tmp_path / "exported.csv"
    with example_path().open("rb") as stream:
        cohort.write_bytes(b"".join(islice(stream, 4)))
    outside: list[str] = []

    def watch(url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).hostname != "127.0.0.1":
            outside.append(url)

    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        context = browser.new_context(accept_downloads=True)
        context.set_default_timeout(60_000)
        context.on("request", lambda request: watch(request.url))
        context.on("page", lambda page: page.on("websocket", lambda socket: watch(socket.url)))
        page = context.new_page()
        # The first thing a new server is asked for may be a bookmark: it has the whole frame.
        page.goto(f"{address}/results")
        expect(page.get_by_text("Not for diagnosis or treatment").first).to_be_visible()
        expect(page.get_by_role("link", name="Results", exact=True).first).to_be_visible()
        page.goto(address)
        upload_and_save(page, cohort)
        choose_drug(page)
        first = predict(page)
        page.get_by_role("textbox", name="Doses").fill("2 uM")
        page.keyboard.press("Enter")
        expect(page.get_by_text("1 dose (2 uM)")).to_be_visible()
        second = predict(page, first)
        reopen_and_export(context.new_page(), urljoin(page.url, second), exported)
        place_a_drug(page)
        carry_choices(context.new_page(), address)
        browser.close()

    table = pd.read_csv(exported, encoding="utf-8-sig")
    assert table["drug"].tolist() == ["trametinib"]
    assert table["sample_id"].tolist() == ["Pt2"]
    assert table["dose_um"].tolist() == [2.0]
    assert table.iloc[0, -978:].astype(float).abs().max() > 0
    assert outside == []
