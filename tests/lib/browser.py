"""A real browser for tests of the page."""
import os
import pathlib

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from kervan import wait_for

SHOTS = os.environ.get("KERVAN_SHOTS")  # a folder: screenshots are left there to be looked at


def chromium(profile):
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for arg in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1280,900", f"--user-data-dir={profile}"):
        options.add_argument(arg)
    options.add_experimental_option("prefs", {"intl.accept_languages": "tr,tr-TR"})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)


def all_of(browser, test_id):
    return browser.find_elements(By.CSS_SELECTOR, f'[data-testid="{test_id}"]')


def one(browser, test_id):
    return wait_for(f"{test_id} on the page", lambda: all_of(browser, test_id))[0]


def said(browser, test_id):
    """What stands there now; the element may be another one a moment later."""
    return browser.execute_script("return document.querySelector(`[data-testid=\"${arguments[0]}\"]`)?.innerText ?? ''", test_id)


def shot(browser, name):
    if SHOTS:
        browser.save_screenshot(str(pathlib.Path(SHOTS) / f"{name}.png"))


def wait_live(browser):
    wait_for("the live connection", lambda: one(browser, "connection").get_attribute("data-state") in ("live", "open"))


def looks(browser, url):
    """What a picture of the same origin looks like: {"size": [width, height], "middle": [r, g, b, alpha]}."""
    return browser.execute_async_script("""
        const done = arguments[1], picture = new Image();
        picture.onerror = () => done(null);
        picture.onload = () => {
            const size = [picture.naturalWidth, picture.naturalHeight], canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = size;
            const pen = canvas.getContext("2d");
            pen.drawImage(picture, 0, 0);
            done({size, middle: [...pen.getImageData(size[0] >> 1, size[1] >> 1, 1, 1).data]});
        };
        picture.src = arguments[0];""", url)
