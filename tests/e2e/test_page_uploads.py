"""What the page does with uploads that cannot go at once. S0-73"""
import os

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browser import all_of, one, said, shot, wait_live
from kervan import Kervan, wait_for
from pictures import noise_png


def files(folder, n):
    paths = [folder / f"not-{i}.txt" for i in range(n)]
    for path in paths:
        path.write_text(f"not {path.name}\n" * 9)
    return paths


def choose(browser, paths):
    one(browser, "upload-input").send_keys("\n".join(map(str, paths)))


def phases(browser):
    return browser.execute_script("return [...document.querySelectorAll('[data-testid=upload-row]')].map(e => e.dataset.phase)")


def test_more_files_than_the_rate_allows_are_waited_with(browser, tmp_path):
    """A minute's worth goes at once; the others go on as the server says, and none fails."""
    with Kervan({"UPLOAD_RATE_LIMIT": "40"}) as kervan:
        browser.get(kervan.url("/"))
        wait_live(browser)
        choose(browser, files(tmp_path, 50))
        wait_for("the limit", lambda: "hız sınırı" in said(browser, "upload-panel"))
        shot(browser, "rate-limited")
        assert phases(browser).count("backoff") <= 3
        wait_for("all of them", lambda: set(phases(browser)) <= {"done", "failed"})
        assert set(phases(browser)) == {"done"}
        refused = sum(e["level"] == "SEVERE" and "status of 429" in e["message"] for e in browser.get_log("browser"))
        assert refused < 40


def test_a_server_that_is_away_is_waited_for(browser, tmp_path):
    """Said at once, also for files that come while it is away; what was on the way goes on by itself."""
    with Kervan() as kervan:
        browser.get(kervan.url("/"))
        wait_live(browser)
        big = tmp_path / "buyuk.txt"
        big.write_text("uzun bir yazı\n" * 300_000)
        browser.execute_cdp_cmd("Network.enable", {})
        slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 500_000}
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
        choose(browser, [big])
        wait_for("half of it", lambda: int(one(browser, "upload-progress").get_attribute("aria-valuenow")) > 20)
        kervan.kill_all()
        choose(browser, files(tmp_path, 5))
        wait_for("what all wait for", lambda: "6 dosya sunucuyu bekliyor" in said(browser, "upload-panel"))
        assert "çevrimdışı" not in said(browser, "connection")
        shot(browser, "away")
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
        kervan.start()
        wait_for("all of them", lambda: phases(browser) == ["done"] * 6)
        assert len(kervan.list()) == 6


def test_without_a_network_uploads_wait(browser, tmp_path):
    with Kervan() as kervan:
        browser.get(kervan.url("/"))
        wait_live(browser)
        browser.execute_cdp_cmd("Network.enable", {})
        network = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", network)
        one(browser, "offline")
        assert one(browser, "connection").get_attribute("data-state") == "offline"
        choose(browser, files(tmp_path, 5))
        wait_for("them to wait", lambda: phases(browser) == ["queued"] * 5)
        assert "5 dosya sunucuyu bekliyor" in said(browser, "upload-panel")
        shot(browser, "offline")
        browser.execute_cdp_cmd("Network.emulateNetworkConditions", {**network, "offline": False})
        wait_for("all of them", lambda: phases(browser) == ["done"] * 5)
        assert not all_of(browser, "offline")


def test_a_file_that_went_or_changed_after_it_was_chosen_says_so(browser, tmp_path):
    """At once and for each: it is no matter of the network, and trying again does not help."""
    with Kervan() as kervan:
        browser.get(kervan.url("/"))
        wait_live(browser)
        kervan.kill_all()
        here, gone, other = paths = files(tmp_path, 3)
        choose(browser, paths)
        wait_for("them to wait", lambda: "bekliyor" in said(browser, "upload-panel"))
        gone.unlink()
        other.write_text("şimdi başka")
        os.utime(other, (0, 0))  # browsers look at the second in which it changed
        kervan.start()
        wait_for("all to end", lambda: set(phases(browser)) <= {"done", "failed"})
        shot(browser, "gone")
        rows = {e.get_attribute("data-name"): e.text for e in all_of(browser, "upload-row")}
        assert "yüklendi" in rows[here.name]
        for path in (gone, other):
            assert "artık okunamıyor" in rows[path.name]


def test_the_limits_are_those_of_the_server_that_runs_now(browser, tmp_path):
    """Not those of when the page was opened: it is open for weeks, and the server restarts."""
    path = tmp_path / "buyuk.txt"
    path.write_text("uzun bir yazı\n" * 90_000)
    with Kervan({"MAX_UPLOAD_SIZE_MB": "2"}) as kervan:
        browser.get(kervan.url("/"))
        wait_live(browser)
        wait_for("the limit", lambda: "en çok 2 MB" in said(browser, "dropzone"))
        kervan.stop()
        kervan.env |= {"MAX_UPLOAD_SIZE_MB": "1", "IMAGE_PROCESSING_ENABLED": "false"}
        kervan.start()
        wait_for("the new limit", lambda: "en çok 1 MB" in said(browser, "dropzone"))
        assert "Görsel işleme kapalı" in said(browser, "dropzone")
        choose(browser, [path])
        wait_for("its refusal", lambda: "Sınır 1 MB" in said(browser, "upload-row"))


COPY = """
  const [text, done] = arguments;
  const canvas = new OffscreenCanvas(9, 9);
  canvas.getContext("2d").fillRect(2, 2, 5, 5);
  canvas.convertToBlob().then(png => navigator.clipboard.write([new ClipboardItem({...(text && {"text/plain": text}), "image/png": png})])).then(() => done(), e => done(String(e)));"""


def copy(browser, text=None):
    """A picture into the clipboard; with a text for it, as spreadsheets do."""
    assert browser.execute_async_script(COPY, text) is None


def test_a_text_pasted_into_a_field_is_no_upload(browser):
    """Office programs put a picture of what is copied beside the text."""
    with Kervan() as kervan:
        browser.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
        browser.get(kervan.url("/"))
        wait_live(browser)
        copy(browser, "ocak")
        one(browser, "filter-search").send_keys(Keys.CONTROL, "v")
        wait_for("the text", lambda: one(browser, "filter-search").get_property("value") == "ocak")
        assert not all_of(browser, "upload-row")
        copy(browser)
        one(browser, "filter-search").send_keys(Keys.CONTROL, "v")
        wait_for("the picture", lambda: phases(browser) == ["done"])
        assert one(browser, "filter-search").get_property("value") == "ocak"
        copy(browser, "ocak")
        one(browser, "nav-library").send_keys(Keys.CONTROL, "v")
        wait_for("the picture again", lambda: phases(browser) == ["done"] * 2)


def drag(browser, kind, path, x=300, y=300):
    browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": {"items": [], "files": [str(path)], "dragOperationsMask": 1}})


def test_what_invites_to_drop_goes_with_the_drag(browser, tmp_path):
    """Also where a tile came between, which is entered and never left; a picture of the list itself is no file from outside."""
    path = tmp_path / "resim.png"
    path.write_bytes(noise_png(60, 40))
    with Kervan() as kervan:
        browser.get(kervan.url("/"))
        wait_live(browser)
        drag(browser, "dragEnter", path)

        def invited():
            drag(browser, "dragOver", path)
            return all_of(browser, "drop-overlay")

        wait_for("the invitation", invited)
        shot(browser, "drag")
        kervan.upload(noise_png(70, 40), "baska.png")
        wait_for("the tile", lambda: invited() and all_of(browser, "tile"))
        drag(browser, "dragOver", path, 500, 400)
        drag(browser, "dragCancel", path)
        wait_for("it to go", lambda: not all_of(browser, "drop-overlay"))
        drag(browser, "dragEnter", path)
        drag(browser, "dragOver", path)
        drag(browser, "drop", path)
        wait_for("the file", lambda: phases(browser) == ["done"])
        assert not all_of(browser, "drop-overlay")
        browser.execute_script("addEventListener('dragstart', () => (window.dragged = true))")
        thumb = browser.find_element(By.CSS_SELECTOR, ".thumb img")
        ActionChains(browser).drag_and_drop_by_offset(thumb, -200, -60).perform()
        assert not browser.execute_script("return window.dragged")


def test_each_tab_keeps_its_own_folder(browser, tmp_path):
    """One that is opened begins with the last choice, and keeps it while another tab makes another."""
    with Kervan() as kervan:
        here = browser.current_window_handle
        browser.get(kervan.url("/"))
        wait_live(browser)
        one(browser, "upload-folder").send_keys("ilk")
        browser.switch_to.new_window("tab")
        browser.get(kervan.url("/"))
        wait_live(browser)
        assert one(browser, "upload-folder").get_property("value") == "ilk"
        one(browser, "upload-folder").send_keys("-ve-ikinci")
        browser.close()
        browser.switch_to.window(here)
        browser.refresh()
        assert one(browser, "upload-folder").get_property("value") == "ilk"
        one(browser, "nav-queues").click()
        one(browser, "queues")
        one(browser, "nav-library").click()
        assert one(browser, "upload-folder").get_property("value") == "ilk"
        choose(browser, files(tmp_path, 1))
        wait_for("the file", lambda: phases(browser) == ["done"])
        assert kervan.list()[0]["folder"] == "ilk"


def test_only_pictures_in_sight_are_read_for_the_list(browser, tmp_path):
    """Each is read and decoded whole: hundreds of photographs at once would fill the memory."""
    paths = [tmp_path / f"resim-{i}.png" for i in range(80)]
    for i, path in enumerate(paths):
        path.write_bytes(noise_png(20 + i, 20))
    with Kervan({"IMAGE_PROCESSING_ENABLED": "false"}) as kervan:
        browser.get(kervan.url("/?search=bulunmaz"))
        wait_live(browser)
        kervan.kill_all()
        choose(browser, paths)
        shown = "return [...document.querySelectorAll('.thumb img')].map((e) => e.complete && e.naturalWidth > 0)"
        wait_for("the first ones", lambda: sum(browser.execute_script(shown)) >= 6)
        assert len(browser.execute_script(shown)) == 80
        assert sum(browser.execute_script(shown)) < 60
        shot(browser, "previews")
        kervan.start()
        wait_for("all of them", lambda: "Yüklemeler bitti" in said(browser, "upload-panel"))


def heap(browser):
    """Bytes of the page's own objects."""
    browser.execute_cdp_cmd("Performance.enable", {})
    browser.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
    metrics = browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(m["value"] for m in metrics if m["name"] == "JSHeapUsedSize")


def test_a_long_list_of_uploads_is_no_load(browser, tmp_path):
    """Each row that changed once kept all the list as it was then: 20 MB for 300 files, and four times that for twice as many."""
    with Kervan({"IMAGE_PROCESSING_ENABLED": "false"}) as kervan:
        browser.get(kervan.url("/?search=bulunmaz"))
        wait_live(browser)
        before = heap(browser)
        choose(browser, files(tmp_path, 300))
        wait_for("all of them", lambda: "Yüklemeler bitti" in said(browser, "upload-panel"))
        assert heap(browser) - before < 5e6
