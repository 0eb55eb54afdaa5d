"""The page in a real browser. S0-21 S0-55 S0-73 S0-75"""
import json

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browser import all_of, one, shot, wait_live
from kervan import wait_for
from pictures import noise_png, png


def open_page(kervan, browser):
    browser.get(kervan.url("/"))
    wait_live(browser)


def statuses(browser):
    return [e.get_attribute("data-status") for e in all_of(browser, "tile-status")]


def test_upload_through_the_page_and_see_the_badge_change(fresh, browser, tmp_path):
    """S0-21 S0-55 S0-73: “işleniyor” turns to ready by push, without a reload."""
    kervan = fresh()
    open_page(kervan, browser)
    shot(browser, "empty")
    browser.execute_script("window.notReloaded = true")
    names = []
    for i in range(3):
        path = tmp_path / f"resim-{i}.png"
        path.write_bytes(noise_png(1300, 900 + i))
        names.append(str(path))
    seen = []
    browser.execute_script("""
      window.badges = [];
      new MutationObserver(() => { for (const e of document.querySelectorAll('[data-testid="tile-status"]')) window.badges.push(e.dataset.status + ':' + e.textContent); })
        .observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});""")
    one(browser, "upload-input").send_keys("\n".join(names))
    wait_for("three tiles", lambda: len(all_of(browser, "tile")) == 3)
    shot(browser, "processing")
    wait_for("three READY rows", lambda: all(m["status"] == "READY" for m in kervan.list()) and len(kervan.list()) == 3)
    wait_for("no tile in processing", lambda: "PENDING" not in statuses(browser))
    seen = browser.execute_script("return window.badges")
    assert any(s.startswith("PENDING") and "işleniyor" in s.lower() for s in seen), seen[:20]
    assert browser.execute_script("return window.notReloaded") is True
    shot(browser, "ready")
    pictures = browser.find_elements(By.CSS_SELECTOR, '[data-testid="tile"] picture source[type="image/avif"]')
    assert pictures and "320w" in pictures[0].get_attribute("srcset")


def test_detail_copy_and_delete(kervan, browser):
    media = kervan.upload(noise_png(700, 500), "ayrinti.png").json()
    kervan.wait_ready(media["id"])
    open_page(kervan, browser)
    before = len(wait_for("tiles", lambda: all_of(browser, "tile")))
    one(browser, "tile").find_element(By.CSS_SELECTOR, "a, button").click()
    detail = one(browser, "detail")
    assert all_of(browser, "copy-url") and all_of(browser, "copy-variant") and detail.is_displayed()
    shot(browser, "detail")
    one(browser, "delete").click()
    one(browser, "delete-confirm").click()
    wait_for("one tile less", lambda: len(all_of(browser, "tile")) == before - 1)
    assert kervan.get(f"/api/media/{media['id']}").status_code == 404


def test_another_client_s_upload_appears(kervan, browser):
    open_page(kervan, browser)
    before = len(all_of(browser, "tile"))
    kervan.upload(png(600, 400), "baska.png")
    wait_for("the new tile", lambda: len(all_of(browser, "tile")) == before + 1)


def test_refusal_is_said_in_words(kervan, browser, tmp_path):
    open_page(kervan, browser)
    path = tmp_path / "sahte.png"
    path.write_bytes(b"<html><script>alert(1)</script></html>")
    one(browser, "upload-input").send_keys(str(path))
    row = one(browser, "upload-row")
    wait_for("the reason", lambda: "içerik" in row.text.lower() or "tür" in row.text.lower())
    shot(browser, "refused")


def test_filters_language_theme(kervan, browser):
    kervan.upload(png(300, 200), "aranan-dosya.png", folder="banners")
    open_page(kervan, browser)
    search = one(browser, "filter-search")
    search.send_keys("aranan")
    wait_for("one tile", lambda: len(all_of(browser, "tile")) == 1)
    search.send_keys(Keys.CONTROL + "a", Keys.DELETE)
    wait_for("more tiles", lambda: len(all_of(browser, "tile")) > 1)
    turkish = browser.find_element(By.TAG_NAME, "body").text
    one(browser, "lang-switch").click()
    wait_for("English", lambda: browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en")
    assert browser.find_element(By.TAG_NAME, "body").text != turkish
    one(browser, "theme-switch").click()
    shot(browser, "english-dark")
    one(browser, "lang-switch").click()


def test_what_is_filtered_stands_in_the_address(kervan, browser):
    """It survives a reload, can be sent to somebody, and the back button undoes it."""
    kervan.upload(png(310, 200), "adresli-dosya.png", folder="banners")
    browser.get(kervan.url("/?folder=banners&search=adresli"))
    wait_live(browser)
    wait_for("what the address asks for", lambda: len(all_of(browser, "tile")) == 1)
    assert one(browser, "filter-search").get_property("value") == "adresli"
    one(browser, "tile").find_element(By.CSS_SELECTOR, "a, button").click()
    one(browser, "detail")
    browser.back()
    assert browser.current_url.endswith("/?folder=banners&search=adresli")
    one(browser, "filter-clear").click()
    wait_for("all tiles", lambda: len(all_of(browser, "tile")) > 1)
    assert browser.current_url.endswith("/")
    browser.back()
    wait_for("the filter again", lambda: len(all_of(browser, "tile")) == 1)
    browser.refresh()
    wait_live(browser)
    wait_for("the filter after a reload", lambda: len(all_of(browser, "tile")) == 1)
    browser.get(kervan.url("/?state=error#/queues"))
    wait_for("the filter of the jobs", lambda: one(browser, "jobs-status").get_property("value") == "error")

def moved_by_the_wheel(browser, x, y):
    before = browser.execute_script("return scrollY")
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": 300})
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    return browser.execute_script("return scrollY") - before


def test_what_has_the_focus_is_in_sight(kervan, browser):
    """Not under the header; a dialog holds the page behind it still; nothing is beside the screen of a tablet."""
    for i in range(24 - len(kervan.list())):
        kervan.upload(png(60, 40 + i), f"dizi-{i}.png")
    size = browser.get_window_size()
    browser.set_window_size(900, 700)
    try:
        open_page(kervan, browser)
        links = wait_for("tiles", lambda: browser.find_elements(By.CSS_SELECTOR, ".tile-link"))
        browser.execute_script("arguments[0].focus()", links[-1])
        top = "return document.activeElement.getBoundingClientRect().top - document.querySelector('.top').getBoundingClientRect().bottom"
        for _ in links:
            browser.switch_to.active_element.send_keys(Keys.ARROW_UP)
            assert browser.execute_script(top) >= 0
        assert moved_by_the_wheel(browser, 450, 400) > 0
        browser.execute_script("arguments[0].click()", links[8])
        one(browser, "detail")
        assert [moved_by_the_wheel(browser, *at) for at in ((450, 45), (200, 400), (5, 400))] == [0, 0, 0]
        one(browser, "detail-close").click()
        for width in (768, 820, 900):
            browser.set_window_size(width, 700)
            browser.execute_script("scrollTo(0, 1e6)")
            wait_for("the button in the header", lambda: browser.find_elements(By.CSS_SELECTOR, ".top-pick"))
            assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), width
    finally:
        browser.set_window_size(size["width"], size["height"])


def test_tiles_far_from_the_screen_cost_a_dialog_nothing(kervan, browser):
    """At 3,000 tiles one opened after 0.3 s. They are not drawn, but there: for the keyboard and for who searches in the page."""
    for i in range(48 - len(kervan.list())):
        kervan.upload(f"uzak {i}".encode(), f"uzak-{i}.txt")
    open_page(kervan, browser)
    links = wait_for("a page of tiles", lambda: len(all_of(browser, "tile")) >= 48 and browser.find_elements(By.CSS_SELECTOR, ".tile-link"))
    drawn = "return arguments[0].checkVisibility({contentVisibilityAuto: true})"
    wait_for("the first and not the last", lambda: [browser.execute_script(drawn, e) for e in (links[0], links[-1])] == [True, False])
    name = browser.execute_script("return document.querySelector('.tile:last-child .tile-name').textContent")
    assert browser.execute_script("return find(arguments[0])", name)
    links[0].send_keys(Keys.END)
    wait_for("the last", lambda: browser.execute_script(drawn, links[-1]))
    assert browser.switch_to.active_element == links[-1]
    shot(browser, "focus")
    ring = browser.execute_script("""
      const {left, right} = arguments[0].getBoundingClientRect(), tile = arguments[0].parentElement.getBoundingClientRect(), s = getComputedStyle(arguments[0]);
      return [left - tile.left, tile.right - right, parseFloat(s.outlineOffset) + parseFloat(s.outlineWidth)]""", links[-1])
    assert min(ring[:2]) >= ring[2] > 0


def focused(browser):
    return browser.execute_script("return document.activeElement.dataset.testid ?? document.activeElement.tagName")


def test_a_button_that_goes_gives_its_focus_to_its_neighbour(kervan, browser):
    """Else the keyboard and the screen reader are at the top of the page again."""
    for i in range(2):
        kervan.upload(png(70, 40 + i), f"odak-{i}.png")
    browser.get(kervan.url("/?search=odak"))
    wait_for("two tiles", lambda: len(all_of(browser, "tile")) == 2)
    browser.find_elements(By.CSS_SELECTOR, ".tile-link")[1].send_keys(Keys.ENTER)
    one(browser, "detail-prev").send_keys(Keys.ENTER)
    wait_for("the focus on the other arrow", lambda: focused(browser) == "detail-next")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    one(browser, "filter-clear").send_keys(Keys.ENTER)
    wait_for("the focus on the filter beside it", lambda: focused(browser) == "filter-folder")
    kervan.post("/api/jobs", json={"service": "odak", "params": {}})
    browser.get(kervan.url("/#/queues"))
    wait_for("its button", lambda: browser.find_elements(By.CSS_SELECTOR, '[data-service="odak"] [data-testid="queue-pause"]'))[0].send_keys(Keys.ENTER)
    one(browser, "queue-yes").send_keys(Keys.ENTER)
    wait_for("the focus on what may be done next", lambda: focused(browser) == "queue-resume")


def test_a_cancelled_picture_says_so_in_words(kervan, browser):
    kervan.post("/api/admin/queues/image-process/pause")
    media = kervan.upload(noise_png(300, 200), "iptal.png").json()
    kervan.post(f"/api/jobs/{media['jobId']}/cancel")
    kervan.post("/api/admin/queues/image-process/resume")
    open_page(kervan, browser)
    tile = browser.find_element(By.CSS_SELECTOR, f'[data-id="{media["id"]}"]')
    assert "İşleme iptal edildi." in tile.text


def test_small_screen_and_quiet_console(kervan, browser):
    browser.set_window_size(390, 800)
    open_page(kervan, browser)
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth + 1")
    assert browser.execute_script("return document.querySelector('.top').offsetHeight") < 120  # two lines
    shot(browser, "small")
    browser.set_window_size(1280, 900)
    errors = [e for e in browser.get_log("browser") if e["level"] == "SEVERE" and "422" not in e["message"]]
    assert not errors, json.dumps(errors, indent=1)
