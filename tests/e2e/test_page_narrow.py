"""The page 320 pixels wide, as on the smallest phones, or at 1280 enlarged to 400 % (WCAG 1.4.10). S0-75"""
import pytest
from selenium.webdriver.common.by import By

from browser import all_of, one, shot, wait_live
from kervan import wait_for
from pictures import noise_png

# What reaches out of the screen, and fields too narrow to read. What is cut with "…" has its text in a title, or in the dialog.
BAD = """
  const width = 320;
  const out = [...document.querySelectorAll("body *")].filter((e) => {
    const { left, right, width: w } = e.getBoundingClientRect();
    return w > 1 && (right > width + 1 || left < -1) && !e.closest(".stage, .offscreen, .skip");
  });
  const narrow = [...document.querySelectorAll("select, input:not(.offscreen)")].filter((e) => e.offsetWidth && e.offsetWidth < 90);
  return [...out, ...narrow].map((e) => `${e.tagName}.${e.className} ${e.getBoundingClientRect().left} ${e.offsetWidth} ${e.textContent.slice(0, 40)}`);"""


@pytest.fixture
def browser(browser):
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 320, "height": 640, "deviceScaleFactor": 1, "mobile": True})
    return browser


def look(browser, name):
    shot(browser, f"narrow-{name}")
    assert not browser.execute_script(BAD), name
    assert browser.execute_script("return document.documentElement.scrollWidth <= 320"), name


def test_nothing_of_the_library_is_cut(kervan, browser):
    kervan.post("/api/admin/queues/image-process/pause")
    for i in range(12):
        kervan.upload(noise_png(60 + i, 40), f"cok-uzun-bir-dosya-adi-{i}.png", folder="uzun-bir-klasor/ve-altindaki-klasor")
    browser.get(kervan.url("/"))
    wait_live(browser)
    for lang in ("tr", "en"):
        wait_for("the language", lambda lang=lang: browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == lang)
        wait_for("their places", lambda: sum("12" in e.text for e in all_of(browser, "tile-status")) == 1)
        look(browser, f"gallery-{lang}")
        browser.find_elements(By.CSS_SELECTOR, ".tile-link")[0].click()
        one(browser, "detail")
        look(browser, f"detail-{lang}")
        one(browser, "delete").click()
        one(browser, "delete-dialog")
        look(browser, f"delete-{lang}")
        one(browser, "delete-cancel").click()
        one(browser, "detail-close").click()
        one(browser, "lang-switch").click()
    browser.get(kervan.url("/?search=cok"))
    one(browser, "filter-clear")
    look(browser, "filtered")
    browser.execute_script("scrollTo(0, 1e6)")
    look(browser, "scrolled")
    assert browser.execute_script("return document.querySelector('.top').offsetHeight") < 120  # two lines


def test_nothing_of_the_queues_is_cut(kervan, browser):
    for service in ("uzun-adli-bir-kuyruk-ve-servisi", "ai"):
        kervan.post("/api/jobs", json={"service": service, "params": {"uzun": "x" * 90}, "tags": ["uzun-bir-etiket-ki-sigmaz-buraya"]})
    browser.get(kervan.url("/#/queues"))
    wait_for("jobs", lambda: all_of(browser, "job"))
    look(browser, "queues")
    if not all_of(browser, "queue-pause"):
        one(browser, "queue-fold").click()
    look(browser, "queue")
    one(browser, "queue-pause").click()
    one(browser, "queue-dialog")
    look(browser, "queue-dialog")
    one(browser, "queue-no").click()
    browser.get(kervan.url(f"/#/jobs/{kervan.get('/api/jobs').json()['jobs'][0]['jobId']}"))
    one(browser, "job-history")
    look(browser, "job")
