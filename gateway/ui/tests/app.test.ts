// The glue, with a server and a socket of the test's own.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Window } from "happy-dom";
import { job, media, queue } from "./fixtures";

const window = new Window({ url: "http://localhost:8080/" });
const stub = (name: string, value: unknown) => Object.defineProperty(globalThis, name, { configurable: true, writable: true, value });
for (const name of ["document", "location", "history"] as const) stub(name, window[name]);
stub("navigator", { onLine: true });
const heard: Record<string, () => void> = {};
stub("addEventListener", (type: string, fn: () => void) => (heard[type] = fn));
stub("scrollTo", () => undefined);
const { setTimeout: timeout } = globalThis;
let pace = 1; // how much faster than life
stub("setTimeout", (fn: () => void, ms: number) => timeout(fn, ms / pace).unref()); // else the live connection would keep the process

class FakeSocket {
    static newest: FakeSocket;
    onopen: (() => void) | null = null;
    onclose = null;
    onmessage: ((e: { data: string }) => void) | null = null;
    constructor() {
        FakeSocket.newest = this;
    }
    send = () => undefined;
    close = () => undefined;
    say(message: unknown) {
        this.onmessage!({ data: JSON.stringify(message) });
    }
}
stub("WebSocket", FakeSocket);

/** What the server answers, by path; anything else is 404. */
let answers: Record<string, unknown>;
let asked: string[];
stub("fetch", async (path: string) => {
    const name = path.split("?")[0]!;
    asked.push(name);
    const answer = typeof answers[name] === "function" ? (answers[name] as (path: string) => unknown)(path) : answers[name];
    if (answer instanceof Response) return answer.clone();
    return name in answers ? new Response(JSON.stringify(answer)) : new Response('{"code":"not_found"}', { status: 404 });
});

const { createApp } = await import("../src/app");
const { createStore } = await import("../src/state");

beforeEach(() => {
    location.hash = "";
    answers = { "/api/media": { items: [media(1)], next: null }, "/api/folders": { folders: [], next: null }, "/api/config": {}, "/api/admin/queues": { queues: [] }, "/api/jobs": { jobs: [], next: null } };
    asked = [];
});

const settled = () => new Promise<void>((done) => timeout(done, 20));

async function until(what: () => unknown) {
    for (let i = 0; i < 100 && !what(); i++) await settled();
    assert.ok(what());
}

async function started(hash: string) {
    location.hash = hash;
    const store = createStore();
    createApp(store, () => "en").start();
    FakeSocket.newest.onopen!();
    FakeSocket.newest.say({ type: "hello", last: 4 });
    await settled();
    asked = [];
    return store;
}

test("what is open is read again after a resync, and said to be gone where it is", async () => {
    const path = `/api/media/${media(1).id}`;
    answers[path] = media(1);
    const store = await started(`#/media/${media(1).id}`);
    assert.ok(store.get().items[media(1).id]);
    FakeSocket.newest.say({ type: "resync", last: 9 });
    await settled();
    assert.ok(asked.includes(path));
    assert.equal(store.get().detailGone, false);

    answers[path] = new Response("404 page not found", { status: 404 }); // a proxy, while the server restarts
    FakeSocket.newest.say({ type: "resync", last: 12 });
    await settled();
    assert.equal(store.get().detailGone, false);
    assert.ok(store.get().items[media(1).id]);

    delete answers[path]; // deleted, and the event is no longer in the log
    answers["/api/media"] = { items: [], next: null };
    FakeSocket.newest.say({ type: "resync", last: 20 });
    await settled();
    assert.equal(store.get().detailGone, true);
    assert.equal(store.get().items[media(1).id], undefined, "else it would still be shown");
});

test("what a backup that was put back has again is shown again", async () => {
    const store = await started("");
    FakeSocket.newest.say({ type: "media.deleted", id: 5, mediaId: media(1).id });
    assert.deepEqual(store.get().order, []);
    FakeSocket.newest.say({ type: "resync", last: 2 ** 40 });
    await settled();
    assert.deepEqual(store.get().order, [media(1).id]);
});

test("queues, jobs and the open job are read again after a resync", async () => {
    const path = `/api/jobs/${job(1).jobId}`;
    answers[path] = job(1);
    const store = await started(`#/jobs/${job(1).jobId}`);
    answers[path] = job(1, { status: "complete" });
    answers["/api/jobs"] = { jobs: [job(2)], next: null };
    answers["/api/admin/queues"] = { queues: [queue("ai")] };
    FakeSocket.newest.say({ type: "resync", last: 9 });
    await settled();
    const { job: open, jobs, list } = store.get().queues;
    assert.equal(open!.status, "complete");
    assert.deepEqual(jobs.map((j) => j.jobId), [job(2).jobId]);
    assert.deepEqual(list!.map((q) => q.service), ["ai"]);
});

test("the list of jobs goes on being read where the date is set back", async () => {
    const { now } = Date;
    answers["/api/admin/queues"] = { queues: [queue("ai")] };
    pace = 20;
    const store = await started("#/queues");
    await until(() => asked.includes("/api/jobs")); // the queues were news
    answers["/api/jobs"] = { jobs: [job(3)], next: null };
    Date.now = () => now() - 3_600_000;
    try {
        FakeSocket.newest.say({ type: "queues", queues: [queue("ai", { waiting: 7 })] });
        await until(() => store.get().queues.jobs.length);
    } finally {
        Date.now = now;
        pace = 1;
    }
});

test("an upload shows how far it is where the date is set back", async () => {
    const { now } = Date;
    const upload: { onprogress?: (e: { loaded: number }) => void } = {};
    stub("XMLHttpRequest", class {
        upload = upload;
        open = () => undefined;
        setRequestHeader = () => undefined;
        send = () => undefined;
    });
    const store = createStore();
    createApp(store, () => "en").addFiles([{ name: "a.pdf", size: 1000, type: "application/pdf" } as File]);
    Date.now = () => now() - 3_600_000;
    try {
        await until(() => (upload.onprogress!({ loaded: 250 }), store.get().uploads[0]!.sent));
    } finally {
        Date.now = now;
    }
});

test("the library alone does not ask for queues", async () => {
    await started("");
    FakeSocket.newest.say({ type: "resync", last: 9 });
    await settled();
    assert.ok(asked.includes("/api/media"));
    assert.ok(!asked.some((path) => /queues|jobs/.test(path)), asked.join());
});

test("an id may be written as the server reads it, and is never the name of something else", async () => {
    const id = "06yhmy7q0dg10";
    answers[`/api/media/${id}`] = media(1, { id });
    const store = await started("#/media/O6YHMY7QODGL0");
    assert.equal(store.get().detail, id);
    assert.ok(store.get().items[id]);
    answers[`/api/jobs/${id}`] = job(1, { jobId: id });
    assert.equal((await started("#/jobs/O6YHMY7QODGI0")).get().queues.job?.jobId, id);
    const { detail, detailGone } = (await started("#/media/constructor")).get();
    assert.ok(!(detail! in {}));
    assert.ok(detailGone, "there is none");
});

test("a list that is read again is as long as it was", async () => {
    const all = Array.from({ length: 500 }, (_, i) => media(500 - i));
    answers["/api/media"] = (path: string) => {
        const query = new URL(path, location.href).searchParams;
        const limit = Number(query.get("limit"));
        assert.ok(limit <= 200);
        const from = all.findIndex((m) => m.id < (query.get("cursor") ?? "9"));
        return { items: all.slice(from, from + limit), next: from + limit < 500 ? all[from + limit - 1]!.id : null };
    };
    const store = await started("");
    store.dispatch({ type: "list/done", generation: 0, more: true, page: { items: all, next: null } });
    const lengths = new Set<number>();
    store.subscribe(() => lengths.add(store.get().order.length));
    FakeSocket.newest.say({ type: "resync", last: 9 });
    await settled();
    assert.deepEqual([...lengths], [500]);
});

test("what a server that is away did not bring is asked for again", async () => {
    const away = new Response("", { status: 502 });
    const path = `/api/media/${media(1).id}`;
    const list = answers["/api/media"];
    pace = 100;
    try {
        Object.assign(answers, { [path]: away, "/api/media": away });
        const store = await started(`#/media/${media(1).id}`);
        assert.equal(store.get().load, "error");
        assert.equal(store.get().items[media(1).id], undefined);
        answers[path] = media(1);
        await until(() => store.get().items[media(1).id]);
        answers["/api/media"] = list;
        FakeSocket.newest.onopen!(); // anew; no event was missed
        await until(() => store.get().load === "idle");

        const jobs = answers["/api/jobs"];
        answers["/api/jobs"] = away;
        const { get } = await started("#/queues");
        assert.equal(get().queues.jobsProblem!.status, 502);
        answers["/api/jobs"] = jobs;
        await until(() => get().queues.jobsProblem === null);
    } finally {
        pace = 1;
    }
});

test("without a network the server of this machine still answers", async () => {
    try {
        stub("navigator", { onLine: false });
        const store = await started("");
        assert.equal(store.get().online, true, "the connection stands");
        heard["offline"]!();
        assert.equal(store.get().online, false, "until it is tried");
        FakeSocket.newest.onopen!();
        assert.equal(store.get().online, true);
    } finally {
        stub("navigator", { onLine: true });
    }
});

test("more folders than a page holds are not passed over in silence", async () => {
    answers["/api/folders"] = { folders: [{ folder: "a", count: 3 }], next: "a" };
    const store = await started("");
    assert.deepEqual([store.get().folders!.length, store.get().foldersCut], [1, true]);
});

test("a server that was started anew has limits of its own", async () => {
    const store = await started("");
    answers["/api/config"] = { max_upload_bytes: 7 };
    FakeSocket.newest.onopen!(); // anew; no event was missed
    await settled();
    assert.equal(store.get().config!.max_upload_bytes, 7);
});
