import assert from "node:assert/strict";
import { test } from "node:test";
import { readFilters, sameFilter, writeFilters } from "../src/address";
import { initialQueues } from "../src/queues";
import { noFilter } from "../src/state";

const nothing = { media: noFilter, jobs: initialQueues.filter };

test("what is filtered comes back from the address as it went there", () => {
    const filters = {
        media: { folder: "haber/2026", status: "READY", search: "Çağrı & son #1" },
        jobs: { service: "image-process", status: "unfinished", lane: "urgent" },
    } as const;
    const query = writeFilters("", filters);
    assert.match(query, /^\?folder=haber\/2026&status=READY&search=/);
    assert.deepEqual(readFilters(query), filters);
});

test("no filter leaves no trace, and what else stands in the address stays", () => {
    assert.equal(writeFilters("?folder=a&state=error", nothing), "");
    assert.equal(writeFilters("?from=mail&folder=a", nothing), "?from=mail");
    assert.deepEqual(readFilters(""), nothing);
});

test("an address typed by hand or out of date filters nothing it cannot", () => {
    const odd = "?folder=../etc&status=DONE&search=" + "x".repeat(300) + "&service=A_B&state=sleeping&lane=fast";
    const { media, jobs } = readFilters(odd);
    assert.deepEqual({ ...media, search: "" }, noFilter);
    assert.equal(media.search.length, 100);
    assert.deepEqual(jobs, initialQueues.filter);
});

test("filters are the same by what they say", () => {
    assert.ok(sameFilter(noFilter, { ...noFilter }));
    assert.ok(!sameFilter(noFilter, { ...noFilter, search: "a" }));
});
