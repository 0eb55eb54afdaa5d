import assert from "node:assert/strict";
import { test } from "node:test";
import { watched } from "../src/app-queues";
import { initialQueues, readQueues, reduceQueues, resting, signature, TREND, type QueuesAction, type QueuesState } from "../src/queues";
import { initialState, reduce } from "../src/state";
import { wishes } from "../src/live";
import { job, media, queue } from "./fixtures";

const run = (...actions: QueuesAction[]): QueuesState => actions.reduce(reduceQueues, initialQueues);
const at = (n: number, position: number | null, status: "queued" | "processing" | "complete" = "queued"): QueuesAction => ({
    type: "q/position",
    position: { jobId: job(n).jobId, status, queue_position: position, lane_position: position, eta_seconds: null },
});

test("a queue of which only dead letters are left is whole", () => {
    const [q] = readQueues([{ service: "old", dead_letters: 4 }]);
    assert.equal(q!.waiting, 0);
    assert.equal(q!.health, "idle");
    assert.equal(q!.dead_letters, 4);
    assert.deepEqual(readQueues([{ service: "b" }, { service: "a" }]).map((x) => x.service), ["a", "b"]);
});

test("the trend keeps its newest samples and forgets queues that went", () => {
    let s = initialQueues;
    for (let i = 0; i < TREND + 5; i++) s = reduceQueues(s, { type: "q/state", at: i, list: [queue("a", { throughput: { s10: i, min1: 0, min5: 0 } })] });
    assert.equal(s.trend["a"]!.length, TREND);
    assert.equal(s.trend["a"]!.at(-1), TREND + 4);
    s = reduceQueues(s, { type: "q/state", at: 0, list: [] });
    assert.deepEqual(s.trend, {});
});

/* S3-11, S3-13 */
test("a position moves the job in the list and in the open detail", () => {
    const s = run({ type: "q/jobs", generation: 0, more: false, jobs: [job(1), job(2)], next: null }, { type: "q/open", id: job(1).jobId }, at(1, 4));
    assert.equal(s.jobs[0]!.queue_position, 4);
    assert.equal(s.job!.queue_position, 4);
    assert.equal(s.positions[job(1).jobId]!.queue_position, 4);
    const done = reduceQueues(s, at(1, null, "complete"));
    assert.equal(done.jobs[0]!.status, "complete");
    assert.deepEqual(done.positions, {});
});

test("an answer to an older filter is dropped; pages join without doubles", () => {
    const s = run({ type: "q/filter", filter: { status: "error" } }, { type: "q/jobs", generation: 0, more: false, jobs: [job(9)], next: null });
    assert.equal(s.loaded, false);
    const t = [
        { type: "q/jobs", generation: 1, more: false, jobs: [job(5), job(4)], next: job(4).jobId },
        { type: "q/jobs", generation: 1, more: true, jobs: [job(4), job(3)], next: null },
    ].reduce((x, a) => reduceQueues(x, a as QueuesAction), s);
    assert.deepEqual(t.jobs.map((j) => Number(j.jobId)), [5, 4, 3]);
});

test("a list that is longer than an answer keeps its length when it is read again", () => {
    const jobs = (from: number, n: number) => Array.from({ length: n }, (_, i) => job(from - i));
    const read = (from: number, n: number, more: boolean, next: number | null): QueuesAction => ({ type: "q/jobs", generation: 0, more, jobs: jobs(from, n), next: next === null ? null : job(next).jobId });
    const s = run(read(900, 200, false, 701), read(700, 72, true, null), read(901, 200, false, 702));
    assert.deepEqual(s.jobs.map((j) => Number(j.jobId)), Array.from({ length: 272 }, (_, i) => 901 - i));
    assert.equal(s.next, job(630).jobId, "the one that had to go comes with the next page");
    assert.equal(reduceQueues(s, read(700, 3, false, null)).jobs.length, 3, "there are no others");
    assert.deepEqual(run(read(0, 0, false, 500)).next, job(500).jobId, "the server looked so far and found none");
});

test("the list is read again when its queue changes, not when another does", () => {
    const a = [queue("a", { waiting: 1 }), queue("b", { waiting: 1 })];
    const b = [queue("a", { waiting: 1, oldest_waiting_s: 9 }), queue("b", { waiting: 2 })];
    assert.equal(signature(a, "a"), signature(b, "a"));
    assert.notEqual(signature(a, ""), signature(b, ""));
});

test("what is on the screen is watched, and nothing else", () => {
    let s = reduce(initialState, { type: "list/done", generation: 0, more: false, page: { items: [media(2, { status: "PENDING", jobId: "m2" }), media(1)], next: null } });
    assert.deepEqual(watched(s), ["m2"]);
    s = reduce(s, { type: "q/jobs", generation: 0, more: false, jobs: [job(1), job(2, { status: "complete" })], next: null });
    assert.deepEqual(watched(s), ["m2"], "the list of jobs is not shown");
    s = reduce(s, { type: "view", view: "queues" });
    assert.deepEqual(watched(s), ["m2", job(1).jobId]);
    s = reduce(s, { type: "q/open", id: "x" });
    assert.ok(watched(s).includes("x"), "not known yet, so it may be waiting");
});

test("only what changed is said", () => {
    assert.equal(wishes(["a"], true, ["a"], true), null);
    assert.equal(wishes(["a"], false, [], true), '{"unwatch":["a"],"queues":true}');
});

test("a queue where nothing waits or runs is idle, whether it has a worker or not", () => {
    assert.equal(readQueues([{ service: "a", health: "ok" }])[0]!.health, "idle");
    assert.equal(readQueues([{ service: "a", health: "ok", workers: 2 }])[0]!.health, "idle");
    assert.equal(readQueues([{ service: "a", health: "ok", running: 1 }])[0]!.health, "ok");
    assert.equal(readQueues([{ service: "a", health: "paused" }])[0]!.health, "paused");
});

test("queues in trouble come first, those at rest may be a line", () => {
    const list = readQueues([
        { service: "a", health: "ok" },
        { service: "b", health: "ok", waiting: 1 },
        { service: "y", health: "paused" },
        { service: "z", health: "no_workers", waiting: 1 },
        { service: "x", health: "stuck", running: 1 },
    ]);
    assert.deepEqual(list.map((q) => q.service), ["x", "z", "y", "a", "b"]);
    assert.deepEqual(list.filter(resting).map((q) => q.service), ["a"]);
    assert.equal(resting(queue("a", { delayed: 1 })), false);
    assert.equal(resting(queue("a", { throughput: { s10: 0, min1: 0.5, min5: 0.1 } })), false, "it has just worked");
});
