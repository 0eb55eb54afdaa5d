import assert from "node:assert/strict";
import { test } from "node:test";
import type { SendEvents, UploadAnswer } from "../src/api";
import { localProblem } from "../src/api";
import type { Problem } from "../src/model";
import { createStore, type Upload } from "../src/state";
import { Uploads } from "../src/uploads";
import { FakeClock, media } from "./fixtures";

interface Sent {
    name: string;
    on: SendEvents;
    aborted: boolean;
}

function setUp() {
    const clock = new FakeClock();
    const store = createStore();
    store.dispatch({ type: "live", live: "live" });
    const sent: Sent[] = [];
    const told = { stored: [] as string[], failed: [] as string[], lost: 0 };
    const uploads = new Uploads({
        store,
        send: (file, _options, on) => {
            const one: Sent = { name: file.name, on, aborted: false };
            sent.push(one);
            return () => (one.aborted = true);
        },
        options: (u) => ({ lang: "tr", folder: u.folder, declare: [] }),
        now: () => clock.now,
        setTimer: clock.setTimer,
        clearTimer: clock.clearTimer,
        preview: () => null,
        dropPreview: () => undefined,
        stored: (u) => told.stored.push(u.name),
        lost: () => told.lost++,
        failed: (u, p) => told.failed.push(`${u.name}:${p.code}`),
    });
    const row = (i: number): Upload => store.get().uploads[i]!;
    return { clock, store, sent, told, uploads, row };
}

const file = (name: string, size = 1000) => ({ name, size, type: "image/jpeg" }) as File;
const answer = (n: number): UploadAnswer => ({ ...media(n), deduplicated: false });
const problem = (status: number, retryAfter: number | null = null): Problem => ({ status, code: "busy", text: "", detail: "", retryAfter });

test("three at a time, the next when one is done", () => {
    const { sent, uploads, row } = setUp();
    uploads.add(["a", "b", "c", "d", "e"].map((n) => file(`${n}.jpg`)), "genel");
    assert.deepEqual(sent.map((s) => s.name), ["a.jpg", "b.jpg", "c.jpg"]);
    sent[1]!.on.done(answer(1));
    assert.equal(row(1).phase, "done");
    assert.equal(sent[3]!.name, "d.jpg");
    assert.equal(uploads["jobs"].size, 4, "the file that is done is let go");
});

test("progress has a share, a speed and an end", () => {
    const { clock, sent, uploads, row } = setUp();
    uploads.add([file("a.jpg", 1000)], "genel");
    clock.advance(1000);
    sent[0]!.on.progress(250);
    assert.equal(row(0).sent, 250);
    assert.equal(row(0).speed, 250);
    clock.advance(50);
    sent[0]!.on.progress(300);
    assert.equal(row(0).sent, 250, "not more than eight steps a second");
    sent[0]!.on.progress(1000);
    assert.equal(row(0).phase, "saving");
});

test("503 and 429 wait as long as the server says, then try again", () => {
    const { clock, sent, uploads, row } = setUp();
    uploads.add([file("a.jpg")], "genel");
    sent[0]!.on.fail(problem(503, 4));
    assert.equal(row(0).phase, "backoff");
    assert.equal(row(0).retryAt, 4000);
    clock.advance(3999);
    assert.equal(sent.length, 1);
    clock.advance(1);
    assert.equal(sent.length, 2);
    sent[1]!.on.fail(problem(429));
    clock.advance(6000);
    sent[2]!.on.done(answer(1));
    assert.equal(row(0).phase, "done");
});

test("a proxy that finds no server, or waits for one too long, is waited for", () => {
    for (const status of [502, 504]) {
        const { clock, sent, uploads, row } = setUp();
        uploads.add([file("a.jpg")], "genel");
        sent[0]!.on.fail(problem(status));
        assert.equal(row(0).phase, "backoff");
        clock.advance(3000);
        assert.equal(sent.length, 2);
    }
});

test("a server that is away is waited for until it is back, and nothing is sent meanwhile", () => {
    for (const why of [localProblem("network"), localProblem("stalled"), problem(502)]) {
        const { clock, sent, store, told, uploads } = setUp();
        uploads.add(Array.from({ length: 50 }, (_, i) => file(`${i}.jpg`)), "genel");
        store.dispatch({ type: "live", live: "reconnecting" });
        sent[0]!.on.fail(why);
        uploads.add([file("late.jpg")], "genel");
        for (const { on } of sent.slice(1)) on.fail(why);
        clock.advance(3_600_000);
        assert.equal(sent.length, 3);
        assert.equal(told.lost, 1);
        store.dispatch({ type: "live", live: "live" });
        uploads.resume();
        for (let i = 3; i < 54; i++) sent[i]!.on.done(answer(i));
        assert.ok(store.get().uploads.every((u) => u.phase === "done"));
    }
});

test("a file that does not get through to a server that is there fails in the end", () => {
    const { clock, sent, uploads, row } = setUp();
    uploads.add([file("a.jpg")], "genel");
    for (let i = 0; i < 6; i++) {
        sent[sent.length - 1]!.on.fail(localProblem("network"));
        clock.advance(20_000);
    }
    assert.equal(row(0).phase, "failed", "not for ever");
});

test("one that waits gives its place to the others", () => {
    const { sent, uploads } = setUp();
    uploads.add(["a", "b", "c", "d"].map((n) => file(`${n}.jpg`)), "genel");
    sent[0]!.on.fail(problem(503, 60));
    assert.equal(sent[3]!.name, "d.jpg");
});

test("above the rate nothing more is sent until the server says so, and no file fails", () => {
    const { clock, sent, store, uploads } = setUp();
    uploads.add(Array.from({ length: 60 }, (_, i) => file(`${i}.jpg`)), "genel");
    let asked = 0;
    for (let second = 0; second < 60; second++) {
        for (let token = true; asked < sent.length; token = false) {
            const { on } = sent[asked++]!;
            if (token) on.done(answer(asked));
            else on.fail(problem(429, 1));
        }
        assert.ok(store.get().uploads.filter((u) => u.phase === "backoff").length <= 3);
        clock.advance(1000);
    }
    assert.ok(store.get().uploads.every((u) => u.phase === "done"));
});

test("it does not try for ever", () => {
    const { clock, sent, told, uploads, row } = setUp();
    uploads.add([file("a.jpg")], "genel");
    for (let i = 0; i < 6; i++) {
        sent[sent.length - 1]!.on.fail(problem(503, 1));
        clock.advance(1000);
    }
    assert.equal(sent.length, 6);
    assert.equal(row(0).phase, "failed");
    assert.deepEqual(told.failed, ["a.jpg:busy"]);
});

test("other errors end it; the user may try again", () => {
    const { sent, uploads, row } = setUp();
    uploads.add([file("a.jpg")], "genel");
    sent[0]!.on.fail({ ...problem(422), code: "type_mismatch" });
    assert.equal(row(0).phase, "failed");
    uploads.retry(row(0).key);
    assert.equal(sent.length, 2);
    assert.equal(row(0).problem, null);
});

test("cancel aborts and frees the place, also while waiting", () => {
    const { clock, sent, uploads, row } = setUp();
    uploads.add(["a", "b", "c", "d"].map((n) => file(`${n}.jpg`)), "genel");
    uploads.cancel(row(0).key);
    assert.ok(sent[0]!.aborted);
    assert.equal(sent.length, 4);
    sent[1]!.on.fail(problem(503, 5));
    uploads.cancel(row(1).key);
    clock.advance(5000);
    assert.equal(row(1).phase, "cancelled");
    assert.equal(sent.length, 4);
});

test("cancel all starts nothing on the way", () => {
    const { sent, store, uploads } = setUp();
    uploads.add(["a", "b", "c", "d", "e"].map((n) => file(`${n}.jpg`)), "genel");
    uploads.cancelAll();
    assert.equal(sent.length, 3);
    assert.ok(store.get().uploads.every((u) => u.phase === "cancelled"));
    uploads.clear();
    assert.equal(store.get().uploads.length, 0);
});

test("offline: what runs waits, what is new waits, all goes on afterwards", () => {
    const { sent, store, uploads, row } = setUp();
    uploads.add([file("a.jpg")], "genel");
    store.dispatch({ type: "online", online: false });
    sent[0]!.on.fail(localProblem("network"));
    uploads.add([file("b.jpg")], "genel");
    assert.equal(row(0).phase, "backoff");
    assert.equal(row(1).phase, "queued");
    assert.equal(sent.length, 1);
    store.dispatch({ type: "online", online: true });
    uploads.resume();
    assert.deepEqual(sent.map((s) => s.name), ["a.jpg", "a.jpg", "b.jpg"]);
});

test("what the page refuses is not sent, unless the user insists", () => {
    const { sent, store, told, uploads, row } = setUp();
    store.dispatch({ type: "config", config: { max_upload_bytes: 10, allowed_mime_types: [], allowed_extensions: ["jpg"], processing_enabled: true, version: "1" } });
    uploads.add([file("a.jpg", 11)], "genel");
    assert.equal(sent.length, 0);
    assert.equal(row(0).local, true);
    assert.deepEqual(told.failed, ["a.jpg:too_large"]);
    uploads.retry(row(0).key);
    assert.equal(sent.length, 1);
});
