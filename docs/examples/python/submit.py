#!/usr/bin/env python3
"""Submits jobs and waits for them:   submit.py SERVICE PARAMS [PARAMS …]

One line a job when it is taken, one a position, one with the job when it has ended.
KERVAN_DATA (or KERVAN_BROKER) says where the broker is. Exit status 0: all are complete."""
import json
import sys

from kervan import Client, id_number, id_text


def show(job, status, position):
    print(job, status, "position", position, flush=True)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    service, failed = sys.argv[1], 0
    with Client("submit.py") as c:
        jobs = []
        for params in sys.argv[2:]:
            taken = c.submit(service, json.loads(params))
            jobs.append(taken["job"])
            show(id_text(taken["job"]), taken["status"], taken["queue_position"])
        for job in jobs:
            row = c.wait(job, on_position=lambda e: show(e["jobId"], e["status"], e["queue_position"]))
            assert id_number(row["jobId"]) == job
            print(json.dumps(row), flush=True)
            failed += row["status"] != "complete"
    sys.exit(1 if failed else 0)


main()
