"""Queues and jobs on the page, in a real browser. S3-10 S3-11 S3-12 S3-39 S3-40 S3-42 S4-96 S4-97 S4-98 S4-99 S4-100 S4-101"""
import json
import os
import signal
import threading
import uuid

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from browser import all_of, one, said, shot, wait_live
from kervan import Kervan, wait_for
from peer import JOB_DONE, JOB_FAIL, JOB_PROGRESS, OKAY, READY, Peer
from pictures import noise_png


def submit(k, service, **options):
    answer = k.post("/api/jobs", json={"service": service, **options})
    assert answer.status_code == 202, answer.text
    return answer.json()["jobId"]


def open_queues(k, browser):
    browser.get("about:blank")
    browser.get(k.url("/#/queues"))
    wait_live(browser)
    one(browser, "queues")


def inner(browser, selector, part=""):
    """The text below the first of these, read in one go: rows are made anew under the test's hands."""
    return browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", f"{selector} {part}".strip())


def unfold(browser, service):
    """Where there are many, queues are lines that open."""
    browser.execute_script("""
        document.querySelector('[data-testid="queues-resting"]')?.setAttribute("open", "");
        document.querySelector(arguments[0])?.click()""", f'[data-testid="queue"][data-service="{service}"] [aria-expanded="false"]')


def card(browser, service):
    unfold(browser, service)
    found = browser.find_elements(By.CSS_SELECTOR, f'[data-testid="queue"][data-service="{service}"]')
    return found[0] if found else None


def press(browser, service, test_id):
    """A card moves when its queue wakes or comes to rest: then it is looked for again, and a mouse could hit the one that took its place."""
    def pressed():
        try:
            browser.execute_script("arguments[0].click()", card(browser, service).find_element(By.CSS_SELECTOR, f'[data-testid="{test_id}"]'))
        except StaleElementReferenceException:
            return False
        return True
    wait_for(test_id, pressed)


def text(browser, service, test_id):
    unfold(browser, service)
    return inner(browser, f'[data-testid="queue"][data-service="{service}"]', f'[data-testid="{test_id}"]')


def row_text(browser, job_id):
    return inner(browser, f'[data-testid="job"][data-id="{job_id}"]')


def row_status(browser, job_id):
    return browser.execute_script("return document.querySelector(arguments[0])?.dataset.status", f'[data-testid="job"][data-id="{job_id}"]')


def row(browser, job_id):
    found = browser.find_elements(By.CSS_SELECTOR, f'[data-testid="job"][data-id="{job_id}"]')
    return found[0] if found else None


def name():
    return f"q-{uuid.uuid4().hex[:8]}"


class Worker(Peer):
    def __init__(self, k, service):
        super().__init__(k, "worker")
        assert self.ask(READY, [service, 1])[0] == OKAY


def test_no_queue_yet_teaches(kervan, browser):
    open_queues(kervan, browser)
    wait_for("the hint or a queue of kervan's own", lambda: all_of(browser, "queues-none") or all_of(browser, "queue"))
    shot(browser, "queues-empty")


def test_a_queue_lives_before_the_eye(kervan, browser):
    """Counts, places and states change by push, without a reload."""
    open_queues(kervan, browser)
    browser.execute_script("window.notReloaded = true")
    q = name()
    ids = [submit(kervan, q, lane=lane, user="ayse") for lane in ("normal", "urgent", "background")]
    wait_for("the queue", lambda: text(browser, q, "queue-waiting") == "3")
    assert text(browser, q, "queue-health") == "işçi yok" and text(browser, q, "lane-urgent") == "Acil 1"
    wait_for("the jobs", lambda: row(browser, ids[0]))
    wait_for("the place", lambda: "sırada 2" in row_text(browser, ids[0]))
    with Worker(kervan, q) as w:
        lease = w.wait_job()  # the urgent one
        wait_for("it moved up", lambda: "sırada 1" in row_text(browser, ids[0]))
        wait_for("it runs", lambda: row_status(browser, ids[1]) == "processing")
        assert w.ask(JOB_PROGRESS, [lease[0], lease[1], lease[2], 60, ""])[0] == OKAY
        wait_for("one worker", lambda: text(browser, q, "queue-workers") == "1")
        w.ask(JOB_DONE, [lease[0], lease[1], lease[2], "{}"])
        wait_for("it is complete", lambda: row_status(browser, ids[1]) == "complete")
    assert browser.execute_script("return window.notReloaded") is True


def test_pause_asks_and_a_reload_shows_the_same(kervan, browser):
    """S3-12 S3-40 S3-42: all that waits is there again after a refresh."""
    open_queues(kervan, browser)
    q = name()
    ids = [submit(kervan, q) for _ in range(3)]
    wait_for("the queue", lambda: text(browser, q, "queue-waiting") == "3")
    press(browser, q, "queue-pause")
    shot(browser, "queues-confirm")
    assert browser.switch_to.active_element.get_attribute("data-testid") == "queue-no"  # the safe answer
    one(browser, "queue-no").click()
    assert kervan.get("/api/admin/queues", params={"service": q}).json()["queues"][0]["paused"] is False
    card(browser, q).find_element(By.CSS_SELECTOR, '[data-testid="queue-pause"]').send_keys(Keys.ENTER)
    one(browser, "queue-yes").click()
    wait_for("paused", lambda: text(browser, q, "queue-health") == "duraklatıldı")
    browser.refresh()
    wait_for("the places", lambda: all(f"sırada {n + 1}" in row_text(browser, j) for n, j in enumerate(ids)))
    wait_for("paused", lambda: text(browser, q, "queue-health") == "duraklatıldı")
    press(browser, q, "queue-resume")
    one(browser, "queue-yes").click()
    wait_for("going on", lambda: text(browser, q, "queue-health") != "duraklatıldı")


def test_job_detail_cancel_and_retry(kervan, browser):
    q = name()
    job = submit(kervan, q, params={"resim": "a.png"}, metadata={"adım": 1}, tags=["deneme"], max_attempts=1)
    with Worker(kervan, q) as w:
        lease = w.wait_job()
        w.ask(JOB_FAIL, [lease[0], lease[1], lease[2], 66, "dosya okunamadı", False])
    open_queues(kervan, browser)
    wait_for("the dead letter", lambda: text(browser, q, "queue-dead") == "1")
    press(browser, q, "queue-dead")
    wait_for("only it", lambda: len(all_of(browser, "job")) == 1 and row(browser, job))
    assert Select(one(browser, "jobs-status")).first_selected_option.get_attribute("value") == "error"
    row(browser, job).find_element(By.TAG_NAME, "a").click()
    wait_for("the reason", lambda: "dosya okunamadı" in said(browser, "job-error"))
    steps = one(browser, "job-history").find_elements(By.TAG_NAME, "li")
    assert [s.find_element(By.TAG_NAME, "b").text for s in steps] == ["sırada", "işleniyor", "hata"]
    shot(browser, "job-error")
    one(browser, "job-detail").find_element(By.CSS_SELECTOR, '[data-testid="job-retry"]').click()
    wait_for("the new job", lambda: "sırada" in said(browser, "job-now"))
    wait_for("its place", lambda: "sırada 1" in said(browser, "job-now"))
    one(browser, "job-detail").find_element(By.CSS_SELECTOR, '[data-testid="job-cancel"]').click()
    one(browser, "queue-yes").click()
    wait_for("cancelled", lambda: said(browser, "job-now").startswith("iptal"))
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait_for("closed", lambda: not all_of(browser, "job-detail"))


def test_kervans_own_queue(browser):
    """What the server would refuse is not offered; a dead picture is tried again from the page."""
    with Kervan() as k:
        broken = noise_png(600, 400)
        media = k.upload(broken[: len(broken) // 2], "bozuk.png").json()
        k.wait_status(media["id"], "FAILED")
        open_queues(k, browser)
        wait_for("the dead letter", lambda: text(browser, "image-process", "queue-dead") == "1")
        assert card(browser, "image-process").find_elements(By.CSS_SELECTOR, '[data-testid="queue-pause"]')
        assert not card(browser, "image-process").find_elements(By.CSS_SELECTOR, '[data-testid="queue-drain"]')
        press(browser, "image-process", "queue-dead")
        wait_for("the job", lambda: len(all_of(browser, "job")) == 1)
        dead = one(browser, "job").get_attribute("data-id")
        one(browser, "job").find_element(By.TAG_NAME, "a").click()
        wait_for("its reason", lambda: "bad_image" in said(browser, "job-error"))
        shot(browser, "job-dead-picture")
        one(browser, "job-detail").find_element(By.CSS_SELECTOR, '[data-testid="job-retry"]').click()
        wait_for("the new job", lambda: dead not in browser.current_url and "#/jobs/" in browser.current_url)
        wait_for("the same end", lambda: "hata" in said(browser, "job-now"))
        assert k.media(media["id"])["status"] == "FAILED"


def test_the_badge_of_a_picture_says_its_place(browser):
    """S3-10 S3-11: sırada 3, sırada 2 …, without a reload; and the same after one."""
    with Kervan({"IMAGE_WORKERS": "1"}) as k:
        os.kill(k.children()["worker"], signal.SIGSTOP)
        try:
            browser.get(k.url("/"))
            wait_live(browser)
            media = [k.upload(noise_png(700 + n, 500), f"yer-{n}.png").json() for n in range(4)]
            assert all(m["jobId"] for m in media)

            def badges():
                return sorted(browser.execute_script("return [...document.querySelectorAll('[data-testid=tile-status]')].map((e) => e.innerText)"))

            def places():  # the worker holds some, until it counts as dead
                found = [k.get(f"/api/jobs/{m['jobId']}").json()["queue_position"] for m in media]
                return sorted(f"sırada {place}" if place else "işleniyor" for place in found)

            wait_for("the places", lambda: badges() == places() and "sırada 2" in badges())
            shot(browser, "badge-place")
            browser.refresh()
            wait_for("the same places", lambda: badges() == places() and "sırada 2" in badges())
        finally:
            os.kill(k.children()["worker"], signal.SIGCONT)
        for m in media:
            k.wait_ready(m["id"])
        wait_for("all ready", lambda: set(browser.execute_script("return [...document.querySelectorAll('[data-testid=tile-status]')].map((e) => e.dataset.status)")) == {"READY"})


def test_looks(kervan, browser):
    """A queue under load, for whoever looks at the pictures; the page keeps its shape and is quiet."""
    q = "ai-gorsel"
    stop = threading.Event()
    for n in range(40):
        submit(kervan, q, lane=("urgent", "normal", "normal", "background")[n % 4], user=f"kullanıcı-{n % 5}", params={"n": n})

    def work():
        with Worker(kervan, q) as w:
            n = 0
            while not stop.is_set():
                got = w.jobs.pop(0) if w.jobs else None
                if got is None:
                    taken = w.take(0.2)
                    got = taken[2] if taken and taken[0] == 0x22 else None
                if got is None:
                    submit(kervan, q, lane="normal")
                    continue
                stop.wait(0.08)
                n += 1
                w.ask(JOB_DONE if n % 7 else JOB_FAIL, [*got[:3], "{}"] if n % 7 else [*got[:3], 66, "model yanıt vermedi", False])

    worker = threading.Thread(target=work)
    worker.start()
    try:
        open_queues(kervan, browser)
        wait_for("some done", lambda: float((text(browser, q, "queue-rate") or "0").replace(",", ".")) > 0)
        heights = set()
        for _ in range(4):
            heights.add(card(browser, q).size["height"])
            wait_for("the next second", lambda n=browser.execute_script("return performance.now()"): browser.execute_script("return performance.now()") > n + 1000)
        assert len(heights) == 1  # no jump while numbers change
        shot(browser, "queues")
        press(browser, q, "queue-jobs")
        wait_for("its jobs", lambda: all_of(browser, "job"))
        browser.execute_script("document.getElementById('jobs').scrollIntoView()")
        shot(browser, "jobs")
        one(browser, "theme-switch").click()
        one(browser, "lang-switch").click()
        browser.execute_script("scrollTo(0, 0)")
        shot(browser, "queues-english-dark")
        one(browser, "theme-switch").click()
        one(browser, "lang-switch").click()
        browser.set_window_size(390, 800)
        assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth + 1")
        shot(browser, "queues-small")
        browser.set_window_size(360, 800)
        assert browser.execute_script("const f = document.querySelector('.jobs-frame'); return f.scrollWidth <= f.clientWidth")
        browser.execute_script("document.getElementById('jobs').scrollIntoView()")
        shot(browser, "jobs-small")
    finally:
        browser.set_window_size(1280, 900)
        stop.set()
        worker.join()
    errors = [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]
    assert not errors, json.dumps(errors, indent=1)


def test_a_file_dropped_beside_the_library_is_not_gone_to(kervan, browser, tmp_path):
    open_queues(kervan, browser)
    path = tmp_path / "birakilan.png"
    path.write_bytes(noise_png(8, 8))
    dragged = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 400, "y": 500, "data": dragged})
    browser.get_log("browser")  # a round trip
    assert len(browser.window_handles) == 1 and browser.current_url.endswith("/#/queues")
