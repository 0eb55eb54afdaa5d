#!/usr/bin/env python3
"""Prints the events after one, a JSON object a line, and goes on with those that come:   follow.py [AFTER]

Without AFTER: from now on; 0: from the oldest that is kept. Runs until SIGTERM."""
import json
import signal
import sys
import threading

from kervan import NOT_FOUND, Client, KervanError


def main():
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, lambda *_: stopped.set())
    after = int(sys.argv[1]) if len(sys.argv) > 1 else None
    try:
        with Client("follow.py") as c:
            for event in c.follow(after, stop=stopped.is_set):
                print(json.dumps(event), flush=True)
    except KervanError as e:
        if e.number == NOT_FOUND:
            sys.exit("resync: follow from now, and read the state anew meanwhile")
        raise


main()
