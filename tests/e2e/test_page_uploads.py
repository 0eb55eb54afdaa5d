"""What the page does with uploads that cannot go at once. S0-73"""
import pytest

from browser import all_of, chromium, one, said, shot, wait_live
from kervan import Kervan, wait_for


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


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
        refused = sum(e["level"] == "SEVERE" and "429" in e["message"] for e in browser.get_log("browser"))
        assert refused < 40
