"""Disk full: 507, nothing left behind, and it goes on when there is space. S0-57"""
from kervan import Kervan, wait_for
from pictures import padded_png


def test_disk_full(small_disk):
    with Kervan({"IMAGE_PROCESSING_ENABLED": "false", "DISK_RESERVE_MB": "0"}, data=small_disk) as k:
        kept = [k.upload_raw(padded_png(4 << 20)) for _ in range(3)]
        assert [a.status_code for a in kept] == [201] * 3
        full = k.upload_raw(padded_png(40 << 20))
        assert full.status_code == 507, full.text
        assert full.json()["code"] == "disk_full"
        wait_for(".tmp to be empty", lambda: k.tmp_files() == [])
        assert len(k.files()) == 3
        for answer in kept:
            assert k.get(answer.json()["url"]).status_code == 200
        assert k.delete(f"/api/media/{kept[0].json()['id']}").status_code == 204
        wait_for("room again", lambda: len(k.files()) == 2)
        assert k.upload_raw(padded_png(4 << 20)).status_code == 201
