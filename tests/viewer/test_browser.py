"""The page in a browser: sorting, filtering, scrolling, toggling, and nothing on the console.

Needs Chromium with its driver, and selenium. Software rendering makes it slow.
"""

from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from report_patients import MakePatient

from lgg_monai.viewer import ReportPatient
from lgg_monai.viewer.report import write_report
from lgg_monai.viewer.server import FolderServer

webdriver = pytest.importorskip("selenium.webdriver")
wheel = pytest.importorskip("selenium.webdriver.common.actions.wheel_input")
waits = pytest.importorskip("selenium.webdriver.support.wait")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver"),
]
QUIET = ["--headless=new", "--no-sandbox", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync", "--window-size=900,700"]
SOFTWARE = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
Start = Callable[..., Any]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    browsers: list[Any] = []

    def make(address: str, rendering: list[str] = SOFTWARE) -> Any:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in [*QUIET, *rendering, f"--user-data-dir={tmp_path / f'profile{len(browsers)}'}"]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        browser.set_script_timeout(300)
        browsers.append(browser)
        browser.get(address)
        return browser

    yield make
    for browser in browsers:
        browser.quit()


@pytest.fixture
def folder(make_patient: MakePatient, tmp_path: Path) -> Path:
    hostile = make_patient("</script><b>é'\"", measurements={"volume_ml": 2.5, "components": 3})
    second = make_patient("p2", measurements={"volume_ml": 10.0, "components": 1}, warnings=["odd spacing"])
    first = make_patient("p10", measurements={"volume_ml": None, "components": 2})
    failed = ReportPatient("p1", error="the scan is a CT")
    write_report(tmp_path / "out", [hostile, second, first, failed], title="Masks", phantom=True, notes=[])
    return tmp_path / "out"


def one(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def names(browser: Any) -> list[str]:
    rows = browser.find_elements("css selector", "tbody tr")
    return [row.get_attribute("data-name") for row in rows if row.is_displayed()]


def open_first(browser: Any) -> None:
    one(browser, "tbody th a").click()
    wait_for_volumes(browser)


def wait_for_volumes(browser: Any) -> None:
    waiting = "const done = arguments[0]; const look = () => document.getElementById('message').textContent"
    waiting += " === 'Loading the volumes' ? setTimeout(look, 100) : done(); look()"
    browser.execute_async_script(waiting)


def magenta(browser: Any) -> int:
    with Image.open(io.BytesIO(one(browser, "#canvas").screenshot_as_png)) as picture:
        red, green, blue = np.moveaxis(np.asarray(picture.convert("RGB")).astype(int), 2, 0)
    return int(((red - green > 90) & (blue - green > 60)).sum())


def problems(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser")]


def test_the_table_sorts_and_filters_by_mouse_and_keyboard(start: Start, folder: Path) -> None:
    browser = start((folder / "report.html").as_uri(), ["--disable-gpu"])
    buttons = browser.find_elements("css selector", "thead button")
    buttons[0].click()
    assert names(browser)[-3:] == ["p1", "p2", "p10"]  # as people count, not as letters
    buttons[1].send_keys("\ue007")  # Enter
    assert names(browser)[:2] == ["p2", "</script><b>é'\""]
    assert buttons[1].find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    buttons[1].click()
    assert names(browser)[:2] == ["</script><b>é'\"", "p2"]  # those without a value stay last
    one(browser, "#filter").send_keys("ODD")
    assert names(browser) == ["p2"]
    assert one(browser, "#count").text == "1 of 4 scans"
    one(browser, "#filter").clear()
    one(browser, "#filter").send_keys("p")
    one(browser, "#flagged").click()
    assert set(names(browser)) == {"p1", "p2"}
    assert problems(browser) == []


def test_a_patient_is_looked_at_from_disk(start: Start, folder: Path) -> None:
    browser = start((folder / "report.html").as_uri())
    open_first(browser)
    canvas, place = one(browser, "#canvas"), one(browser, "output[for=slice-axial]")
    assert one(browser, "#viewer-name").text == "</script><b>é'\""
    assert one(browser, "#message").text == ""
    assert place.text == "4 of 7"  # the largest tumour slice, numbered as in the file
    with_mask = magenta(browser)
    assert with_mask > 100
    canvas.send_keys("m")
    assert magenta(browser) == 0
    canvas.send_keys("m")
    assert magenta(browser) == with_mask
    canvas.send_keys("\ue013")  # up: towards superior, which this file stores first
    assert place.text == "3 of 7"
    canvas.send_keys("\ue010")  # End
    assert place.text == "1 of 7"
    assert magenta(browser) == 0
    one(browser, "#largest").click()
    assert place.text == "4 of 7"
    origin = wheel.ScrollOrigin.from_element(canvas)
    webdriver.ActionChains(browser).scroll_from_origin(origin, 0, 120).perform()
    assert place.text in ("3 of 7", "5 of 7")
    browser.execute_script("document.getElementById('slice-axial').focus()")
    one(browser, "#slice-axial").send_keys("\ue011")  # Home
    assert place.text == "7 of 7"
    for key in "234":
        canvas.send_keys(key)
    assert one(browser, "#views input:checked").get_attribute("value") == "all"
    one(browser, "#next").click()
    wait_for_volumes(browser)
    assert one(browser, "#viewer-name").text == "p2"
    assert one(browser, "#warnings").text.endswith("odd spacing")
    # In sight, not below what is to be scrolled to.
    assert one(browser, "#warnings").rect["y"] < one(browser, "#views").rect["y"]
    assert problems(browser) == []
    one(browser, "#close").click()
    assert not one(browser, "#viewer").is_displayed()
    # Where reading goes on: at the patient looked at last, not at the first one.
    waits.WebDriverWait(browser, 60).until(lambda browser: "p2" in browser.switch_to.active_element.text)


def test_the_served_page_works_under_its_security_policy(start: Start, folder: Path) -> None:
    with FolderServer(folder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = start(server.address)
        open_first(browser)
        assert one(browser, "#message").text == ""
        assert magenta(browser) > 100
        assert problems(browser) == []
        server.shutdown()


def test_without_webgl_slices_are_pictures(start: Start, folder: Path) -> None:
    browser = start((folder / "report.html").as_uri(), ["--disable-gpu", "--disable-3d-apis"])
    open_first(browser)
    assert "no WebGL" in one(browser, "#message").text
    assert browser.execute_script("return document.getElementById('picture').naturalWidth") > 600
    assert not one(browser, "#views").is_displayed()
    assert problems(browser) == []


def test_a_long_name_leaves_the_buttons_in_the_window(start: Start, make_patient: MakePatient, tmp_path: Path) -> None:
    page = write_report(tmp_path / "out", [make_patient("x" * 200)], title="Masks", phantom=False, notes=[])
    browser = start(page.as_uri(), ["--disable-gpu", "--disable-3d-apis"])
    open_first(browser)
    right = browser.execute_script("return document.getElementById('close').getBoundingClientRect().right")
    assert right <= browser.execute_script("return innerWidth")


def test_paper_holds_the_whole_table_and_every_warning(start: Start, make_patient: MakePatient, tmp_path: Path) -> None:
    measured = {f"measurement {number}": 1234.5 for number in range(12)}
    patients = [
        make_patient(f"p{number}", measurements=measured, warnings=["odd spacing", "few slices"])
        for number in range(30)
    ]
    page = write_report(tmp_path / "out", patients, title="Masks", phantom=False, notes=[])
    browser = start(page.as_uri(), ["--disable-gpu"])
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    table = "document.querySelector('.patients')"
    assert browser.execute_script(f"return {table}.scrollHeight - {table}.clientHeight") == 0
    assert one(browser, "tbody tr:last-child li:last-child").is_displayed()
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert not one(browser, "tbody tr:last-child li:last-child").is_displayed()
    for width in (718, 1047):  # A4, upright and across
        browser.set_window_size(width, 900)
        assert browser.execute_script(f"return {table}.scrollWidth - {table}.clientWidth") == 0


def test_a_page_without_its_data_says_so_and_keeps_its_table(start: Start, folder: Path, tmp_path: Path) -> None:
    alone = shutil.copy(folder / "report.html", tmp_path / "alone.html")
    browser = start(Path(alone).as_uri(), ["--disable-gpu"])
    assert len(names(browser)) == 4
    assert browser.execute_script("return document.querySelector('tbody img').naturalWidth") > 50
    open_first(browser)
    assert "keep this page together" in one(browser, "#message").text or "no WebGL" in one(browser, "#message").text
