"""Background processing. S0-02 S0-07 S0-19 S0-20 S0-21 S0-36 S0-38 S0-40 S0-41 S0-42 S0-54 S0-71 S0-72 S0-74 S0-75 S0-83"""
import os
import resource

import pytest

from kervan import Kervan, wait_for
from pictures import SECRETS, avif, bomb_png, gif, jpeg, metadata, noise_png, png, webp, with_metadata

pytestmark = pytest.mark.threads

PRIVATE = ("GPS", "Artist", "Creator", "Comment", "gizli", "Gizli")


def private(data, ext):
    return {k: v for k, v in metadata(data, ext).items() if str(v).strip() and any(p in k or p in str(v) for p in PRIVATE)}


def test_variants_of_a_large_picture(kervan):
    """S0-20 S0-54 S0-71 S0-75: WebP and AVIF at 320, 640, 1280 and a full-size WebP; the original until READY."""
    picture = noise_png(1400, 1000)
    media = kervan.upload(picture, "orman.png", folder="resim").json()
    assert media["status"] == "PENDING" and media["variants"] == []
    early = kervan.get(media["url"] + "?w=640")
    assert early.status_code == 200 and early.headers["Cache-Control"] == "no-cache" and "accept" in early.headers["Vary"].lower()
    assert early.content == picture
    ready = kervan.wait_ready(media["id"])
    made = {(v["format"], v["width"]) for v in ready["variants"]}
    assert made == {("webp", w) for w in (320, 640, 1280, 1400)} | {("avif", w) for w in (320, 640, 1280)}
    assert ready["processingStartedAt"] and ready["processingCompletedAt"] and ready["thumbhash"]  # S0-41
    for v in ready["variants"]:
        got = kervan.get(v["url"])
        assert got.status_code == 200 and got.headers["Content-Type"] == f"image/{v['format']}" and len(got.content) == v["size"]
        assert "immutable" in got.headers["Cache-Control"]


def test_never_upscaled(kervan):
    media = kervan.upload(noise_png(400, 300), "kucuk.png").json()
    assert {v["width"] for v in kervan.wait_ready(media["id"])["variants"]} == {320, 400}


@pytest.mark.parametrize("make,ext", [(jpeg, "jpg"), (png, "png"), (webp, "webp")])
def test_privacy_of_original_and_variants(kervan, make, ext):
    """S0-19 (Y22): GPS, names and comments leave neither with the original nor with a variant; the orientation stays."""
    received = with_metadata(make(900, 600), ext, *SECRETS)
    assert private(received, ext)
    media = kervan.upload(received, f"ozel.{ext}").json()
    assert media["hash"] != media["stored_hash"]
    kept = kervan.get(media["url"]).content
    assert len(kept) == len(received) and private(kept, ext) == {}
    assert metadata(kept, ext).get("EXIF:Orientation") == 6
    assert (media["width"], media["height"]) == ((600, 900) if ext == "jpg" else (media["width"], media["height"]))
    ready = kervan.wait_ready(media["id"])
    assert (ready["width"], ready["height"]) == (600, 900)
    assert ready["variants"]
    for v in ready["variants"]:
        data = kervan.get(v["url"]).content
        assert private(data, v["format"]) == {} and not any(k.startswith(("EXIF:", "XMP:", "IPTC:")) for k in metadata(data, v["format"]))
        assert v["height"] > v["width"]


def test_strip_off_keeps_metadata_and_says_so(fresh):
    k = fresh(STRIP_ORIGINAL_METADATA="false")
    received = with_metadata(jpeg(), "jpg", *SECRETS)
    media = k.upload(received, "a.jpg").json()
    assert media["hash"] == media["stored_hash"] and media["metadata_kept"] is True
    assert k.get(media["url"]).content == received


@pytest.mark.parametrize("make,ext", [(gif, "gif"), (avif, "avif")])
def test_other_inputs(kervan, make, ext):
    media = kervan.upload(make(700, 500), f"a.{ext}").json()
    ready = kervan.wait_ready(media["id"])
    assert (ready["width"], ready["height"]) == (700, 500)


def test_small_pictures_are_ready_without_useless_variants(kervan):
    """A variant not smaller than the next larger choice is not kept."""
    media = kervan.upload(png(8, 8)).json()
    ready = kervan.wait_ready(media["id"])
    assert all(v["size"] < ready["size"] for v in ready["variants"])


@pytest.mark.parametrize("width,height", [(1, 199), (1, 200), (2, 1000), (5, 2000), (10, 3000), (3000, 2)])
def test_strips_are_ready(kervan, width, height):
    """Dividers and gradients of one pixel: their thumbhash has a side of less than one."""
    media = kervan.upload(noise_png(width, height), f"strip{width}x{height}.png").json()
    assert kervan.wait_ready(media["id"])["thumbhash"]


def test_bomb_truncated_and_retry(kervan):
    """One FAILED row, not a worker; the original is still served (Y24); retry is possible."""
    bomb = kervan.upload(bomb_png(), "bomba.png").json()
    broken = kervan.upload(jpeg(900, 700)[:-4000], "yarim.jpg").json()
    good = kervan.upload(noise_png(500, 400), "iyi.png").json()
    failed = kervan.wait_status(bomb["id"], "FAILED", "READY")
    assert failed["status"] == "FAILED" and failed["error"] == "image_too_big" and failed["error_detail"]
    assert kervan.wait_status(broken["id"], "FAILED", "READY")["error"] == "bad_image"
    kervan.wait_ready(good["id"])
    assert kervan.get(bomb["url"]).status_code == 200
    assert kervan.metric("kervan_job_failures_total") >= 2  # S0-74
    answer = kervan.post(f"/api/media/{broken['id']}/retry")
    assert answer.status_code == 202
    wait_for("the second failure", lambda: kervan.media(broken["id"])["status"] == "FAILED")
    answer = kervan.post(f"/api/media/{good['id']}/retry")
    assert answer.status_code == 409 and "FAILED" in answer.json()["detail"]


def test_processing_off_and_canary(fresh):
    """S0-49 S0-96 S0-97 (Y23): the flag, and the canary by folder."""
    k = fresh(IMAGE_PROCESSING_ENABLED="false")
    assert k.upload(png(700, 500)).json()["status"] == "READY"
    c = fresh(PROCESSING_FOLDERS="banners")
    picture = noise_png(500, 400)
    assert c.upload(picture, folder="haber").json()["status"] == "READY"
    media = c.upload(picture, folder="banners/2026").json()
    assert media["status"] == "PENDING" and c.wait_ready(media["id"])["variants"]


def test_duration_metric(kervan):
    """S0-47 S0-74"""
    media = kervan.upload(noise_png(300, 200)).json()
    kervan.wait_ready(media["id"])
    assert kervan.metric("processing_duration_seconds_count") >= 1
    assert kervan.metric("processing_duration_seconds_sum") > 0


def test_pictures_wait_where_no_descriptor_is_to_be_had():
    with Kervan() as k:
        pid = k.children()["worker"]
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) - 10, limits[1]))
        ids = [k.upload_raw(noise_png(300, 200), "a.png").json()["id"] for _ in range(6)]
        k.wait_log("image_waits")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        for id in ids:
            k.wait_ready(id)
        assert not k.events("image_failed")
