import assert from "node:assert/strict";
import { test } from "node:test";
import { backoffMs, Live, type LiveState, type Socket, type Stream } from "../src/live";
import type { LiveMessage, LogPage } from "../src/model";
import { FakeClock } from "./fixtures";

class FakeSocket implements Socket {
    onopen: Socket["onopen"] = null;
    onclose: Socket["onclose"] = null;
    onmessage: Socket["onmessage"] = null;
    closed = false;
    readonly sent: unknown[] = [];
    constructor(readonly path: string) {}
    send(text: string) {
        this.sent.push(JSON.parse(text));
    }
    close() {
        this.closed = true;
    }
    open() {
        this.onopen?.({} as never);
    }
    die() {
        this.onclose?.({} as never);
    }
    say(message: unknown) {
        this.onmessage?.({ data: typeof message === "string" ? message : JSON.stringify(message) });
    }
}

class FakeStream implements Stream {
    readyState = 0;
    onopen: Stream["onopen"] = null;
    onerror: Stream["onerror"] = null;
    closed = false;
    readonly listeners = new Map<string, (e: { data: unknown }) => void>();
    constructor(readonly path: string) {}
    addEventListener(type: string, fn: (e: { data: unknown }) => void) {
        this.listeners.set(type, fn);
    }
    close() {
        this.closed = true;
    }
    say(type: string, message: unknown) {
        this.listeners.get(type)?.({ data: JSON.stringify(message) });
    }
}

function setUp(pollAnswers = true) {
    const clock = new FakeClock();
    const seen = { sockets: [] as FakeSocket[], streams: [] as FakeStream[], states: [] as LiveState[], events: [] as number[], messages: [] as LiveMessage[], resyncs: 0, polls: 0, answers: pollAnswers, logs: [] as string[], log: null as LogPage | null };
    const live = new Live({
        socket: (path) => {
            const socket = new FakeSocket(path);
            seen.sockets.push(socket);
            return socket;
        },
        stream: (path) => {
            const stream = new FakeStream(path);
            seen.streams.push(stream);
            return stream;
        },
        setTimer: clock.setTimer,
        clearTimer: clock.clearTimer,
        random: () => 1,
        onEvent: (e) => seen.events.push(e.id),
        onMessage: (m) => seen.messages.push(m),
        onResync: () => seen.resyncs++,
        readLog: (path) => {
            seen.logs.push(path);
            return Promise.resolve(seen.log);
        },
        onPoll: () => {
            seen.polls++;
            return Promise.resolve(seen.answers);
        },
        onState: (s) => seen.states.push(s),
    });
    live.start();
    const last = () => seen.sockets[seen.sockets.length - 1]!;
    return { clock, live, seen, last };
}

const tick = () => new Promise<void>((done) => setImmediate(done));

test("the first connection reads the list, then follows events", () => {
    const { seen, last } = setUp();
    assert.equal(last().path, "/api/ws?types=media");
    last().open();
    last().say({ type: "hello", last: 40 });
    last().say({ id: 41, type: "media.created" });
    last().say({ id: 43, type: "media.ready" });
    assert.deepEqual(seen.events, [41, 43]);
    assert.equal(seen.resyncs, 1);
    assert.deepEqual(seen.states, ["connecting", "live"]);
});

test("a reconnect asks for what was missed, by id, and drops what it has", () => {
    const { clock, seen, last } = setUp();
    last().open();
    last().say({ id: 7, type: "media.created" });
    last().die();
    assert.equal(seen.states.at(-1), "reconnecting");
    clock.advance(500);
    assert.equal(last().path, "/api/ws?types=media&after=7");
    last().open();
    last().say({ type: "hello", last: 9 });
    last().say({ id: 7, type: "media.created" });
    last().say({ id: 8, type: "media.ready" });
    assert.deepEqual(seen.events, [7, 8]);
    assert.equal(seen.resyncs, 1, "the log fills the gap; the list is not read again");
});

test("a position from hello alone is kept too", () => {
    const { clock, last } = setUp();
    last().open();
    last().say({ type: "hello", last: 40 });
    last().die();
    clock.advance(500);
    assert.equal(last().path, "/api/ws?types=media&after=40");
});

test("resync reads the list again and goes on from where the server says", () => {
    const { clock, seen, last } = setUp();
    last().open();
    last().say({ id: 7, type: "media.created" });
    last().say({ type: "resync", last: 3 });
    assert.equal(seen.resyncs, 2);
    last().say({ id: 4, type: "media.created" });
    assert.deepEqual(seen.events, [7, 4]);
    last().die();
    clock.advance(500);
    assert.equal(last().path, "/api/ws?types=media&after=4");
});

test("backoff doubles to half a minute, and an open connection resets it", () => {
    assert.equal(backoffMs(0, 0), 250);
    assert.equal(backoffMs(0, 1), 500);
    assert.equal(backoffMs(3, 1), 4000);
    assert.equal(backoffMs(50, 1), 30_000);
    const { clock, seen, last } = setUp();
    last().open();
    last().die();
    clock.advance(499);
    assert.equal(seen.sockets.length, 1);
    clock.advance(1);
    assert.equal(seen.sockets.length, 2);
    last().die();
    clock.advance(999);
    assert.equal(seen.sockets.length, 2);
    clock.advance(1);
    last().open();
    last().die();
    clock.advance(500);
    assert.equal(seen.sockets.length, 4);
});

test("a socket that says nothing for three pings is given up", () => {
    const { clock, seen, last } = setUp();
    const first = last();
    first.open();
    clock.advance(30_000);
    first.say({ type: "ping", last: 0 });
    clock.advance(44_999);
    assert.equal(first.closed, false);
    clock.advance(1);
    assert.equal(first.closed, true);
    assert.equal(seen.states.at(-1), "reconnecting");
});

test("an attempt that neither opens nor fails ends after ten seconds", () => {
    const { clock, seen, last } = setUp();
    const first = last();
    clock.advance(10_000);
    assert.ok(first.closed);
    clock.advance(500);
    assert.equal(seen.sockets.length, 2);
});

/* S0-56 */
test("where WebSocket never opens, SSE takes over, and then polling", async () => {
    const { clock, seen, last } = setUp();
    last().die();
    clock.advance(500);
    last().die();
    clock.advance(1000);
    assert.equal(seen.streams.length, 1);
    const stream = seen.streams[0]!;
    stream.onopen?.({} as never);
    stream.say("hello", { type: "hello", last: 4 });
    stream.say("media.ready", { id: 5, type: "media.ready" });
    stream.say("resync", { type: "resync", last: 9 });
    assert.deepEqual(seen.events, [5]);
    assert.equal(seen.resyncs, 2);
    assert.equal(seen.states.at(-1), "live");

    stream.onerror?.({} as never);
    assert.ok(stream.closed);
    clock.advance(500); // an open stream resets the count: WebSocket is tried again
    last().die();
    clock.advance(1000);
    last().die();
    clock.advance(2000);
    assert.equal(seen.streams[1]!.path, "/api/events?types=media&after=9");
    seen.streams[1]!.onerror?.({} as never);
    clock.advance(4000);
    seen.streams[2]!.onerror?.({} as never);
    clock.advance(8000);
    await tick();
    assert.equal(seen.polls, 1);
    assert.equal(seen.states.at(-1), "polling");
    for (let i = 0; i < 6; i++) {
        clock.advance(5000);
        await tick();
    }
    assert.equal(seen.polls, 6);
    last().open();
    assert.equal(seen.states.at(-1), "live", "after half a minute of polling the push ways are tried again");
});

test("polling without answers is called reconnecting", async () => {
    const { clock, seen, last } = setUp(false);
    last().die();
    clock.advance(500);
    last().die();
    clock.advance(1000);
    seen.streams[0]!.onerror?.({} as never);
    clock.advance(2000);
    seen.streams[1]!.onerror?.({} as never);
    clock.advance(4000);
    await tick();
    assert.equal(seen.states.at(-1), "reconnecting");
    seen.answers = true;
    const before = last();
    clock.advance(5000);
    await tick();
    assert.notEqual(last(), before, "the server is back: the socket is tried at once");
    last().open();
    assert.equal(seen.states.at(-1), "live");
});

test("nudge reconnects at once", () => {
    const { live, last } = setUp();
    last().open();
    last().say({ id: 3, type: "media.ready" });
    const old = last();
    live.nudge();
    assert.ok(old.closed);
    assert.equal(last().path, "/api/ws?types=media&after=3");
});

test("a page nobody looks at holds no stream, and goes on where it was", () => {
    const { clock, live, seen, last } = setUp();
    last().die();
    clock.advance(500);
    last().die();
    live.look(true);
    clock.advance(1000);
    assert.equal(seen.streams.length, 0, "opened in the background");
    live.look(false);
    const stream = seen.streams[0]!;
    stream.onopen?.({} as never);
    stream.say("hello", { type: "hello", last: 4 });
    live.look(true);
    assert.ok(stream.closed);
    assert.equal(clock.waiting, 0);
    live.want(["j1"], false);
    live.look(false);
    assert.equal(seen.streams[1]!.path, "/api/events?types=media&after=4&watch=j1");
    seen.streams[1]!.onerror?.({} as never);
    live.look(true);
    live.look(false);
    assert.equal(seen.streams.length, 2, "it waits to be tried again");
    clock.advance(500);
    last().open();
    live.look(true);
    assert.ok(!last().closed, "sockets are many");
});

test("what is not ours is ignored", () => {
    const { seen, last } = setUp();
    last().open();
    for (const noise of ["", "{", "null", "[]", "7", { type: 3 }, { id: "5", type: "media.ready" }, { id: 6 }]) last().say(noise);
    assert.deepEqual(seen.events, []);
});

/* S3-11 */
test("positions and queues are asked for, changed, and asked for again after a reconnect", () => {
    const { clock, live, seen, last } = setUp();
    live.want(["a", "b"], false);
    last().open();
    assert.deepEqual(last().sent, [{ watch: ["a", "b"] }]);
    live.want(["b", "c"], true);
    live.want(["b", "c"], true);
    assert.deepEqual(last().sent[1], { unwatch: ["a"], watch: ["c"], queues: true });
    assert.equal(last().sent.length, 2);
    last().say({ type: "job.position", jobId: "b", queue_position: 2 });
    last().say({ type: "queues", queues: [] });
    last().say({ type: "error", code: "Forbidden" });
    assert.deepEqual(seen.messages.map((m) => m.type), ["job.position", "queues"]);
    last().die();
    live.want(["c"], true); // nobody to tell
    clock.advance(500);
    last().open();
    assert.deepEqual(last().sent, [{ watch: ["c"], queues: true }]);
});

/** WebSocket does not open, so a stream is tried. */
function onStream({ clock, last }: ReturnType<typeof setUp>): void {
    for (const wait of [0, 500]) {
        clock.advance(wait);
        last().die();
    }
    clock.advance(1_000);
}

const event = (id: number) => ({ id, type: "media.ready" });

test("a quiet stream that leaves out what the log has is opened anew behind the last event", async () => {
    const all = setUp();
    const { clock, seen } = all;
    onStream(all);
    const stream = () => seen.streams[seen.streams.length - 1]!;
    stream().onopen?.({} as never);
    stream().say("hello", { type: "hello", last: 4 });
    clock.advance(59_000);
    stream().say("media.ready", event(5));
    clock.advance(59_999);
    assert.equal(seen.logs.length, 0, "it has said something");

    seen.log = { events: [], last: "40", resync: false };
    clock.advance(1);
    await tick();
    assert.deepEqual(seen.logs, ["/api/events?types=media&after=5"]);
    assert.equal(seen.streams.length, 1, "nothing has happened");

    seen.log = { events: [event(41)], last: "41", resync: false };
    clock.advance(60_000);
    await tick();
    assert.equal(seen.logs[1], "/api/events?types=media&after=40");
    assert.ok(seen.streams[0]!.closed);
    assert.equal(stream().path, "/api/events?types=media&after=40");
    stream().onopen?.({} as never);
    seen.streams[0]!.say("media.ready", event(41));
    stream().say("media.ready", event(41));
    assert.deepEqual(seen.events, [5, 41]);
    assert.ok(seen.states.slice(3).every((s) => s === "live"), "nobody sees it");
});

test("a quiet stream is left when the server does not answer, and kept when it speaks meanwhile", async () => {
    const all = setUp();
    const { clock, seen } = all;
    onStream(all);
    const stream = seen.streams[0]!;
    stream.onopen?.({} as never);
    stream.say("hello", { type: "hello", last: 4 });
    seen.log = { events: [event(5)], last: "5", resync: false };
    clock.advance(60_000);
    stream.say("media.ready", event(5)); // while the log is read
    await tick();
    assert.equal(seen.streams.length, 1);
    seen.log = null;
    clock.advance(60_000);
    await tick();
    assert.ok(stream.closed);
    assert.equal(seen.states.at(-1), "reconnecting");
});

test("a quiet stream of queues is opened anew in any case: their state is not in the log", async () => {
    const all = setUp();
    const { clock, live, seen } = all;
    live.want([], true);
    onStream(all);
    seen.streams[0]!.onopen?.({} as never);
    seen.streams[0]!.say("hello", { type: "hello", last: 4 });
    seen.log = { events: [], last: "9", resync: false };
    clock.advance(60_000);
    await tick();
    assert.equal(seen.streams[1]!.path, "/api/events?types=media&after=9&queues=1");
});

test("what is wished while a stream opens, and while it speaks, is not forgotten", () => {
    const all = setUp();
    const { clock, live, seen } = all;
    onStream(all);
    const stream = () => seen.streams[seen.streams.length - 1]!;
    live.want(["a"], false);
    stream().onopen?.({} as never);
    for (let i = 0; i < 3; i++) {
        clock.advance(900);
        stream().say("queues", { type: "queues", queues: [] });
    }
    assert.equal(stream().path, "/api/events?types=media&watch=a");
});

test("a stream is opened anew for other wishes", () => {
    const all = setUp();
    const { clock, live, seen } = all;
    live.want(["a"], false);
    onStream(all);
    const stream = () => seen.streams[seen.streams.length - 1]!;
    assert.equal(stream().path, "/api/events?types=media&watch=a");
    stream().onopen?.({} as never);
    stream().say("job.position", { type: "job.position", jobId: "a", queue_position: 1 });
    assert.equal(seen.messages.length, 1);
    live.want(["a"], false);
    live.want(["a", "b"], true);
    live.want(["b"], true);
    clock.advance(2_000);
    assert.equal(seen.streams.length, 2);
    assert.ok(seen.streams[0]!.closed);
    assert.equal(stream().path, "/api/events?types=media&watch=b&queues=1");
});
