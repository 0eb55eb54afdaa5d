// The page in happy-dom, with a store and an app that records instead of asking a server.
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Window } from "happy-dom";

const window = new Window({ url: "http://localhost:8080/" });
const names = ["document", "location", "history", "localStorage", "HTMLElement", "Node", "Event", "MouseEvent", "KeyboardEvent", "matchMedia", "requestAnimationFrame", "addEventListener", "removeEventListener"] as const;
for (const name of names) {
    const value = (window as unknown as Record<string, unknown>)[name];
    Object.defineProperty(globalThis, name, { configurable: true, writable: true, value: typeof value === "function" && !/^[A-Z]/.test(name) ? value.bind(window) : value });
}

const { render } = await import("preact");
const { act } = await import("preact/test-utils");
const { createApp } = await import("../src/app");
const { Root } = await import("../src/components/root");
const { createStore } = await import("../src/state");
const { job, media, queue } = await import("./fixtures");

type Store = ReturnType<typeof createStore>;
let store: Store;
let app: ReturnType<typeof createApp>;
let lang: "tr" | "en";
let removed: string[];

const $ = (testid: string) => document.querySelector<HTMLElement>(`[data-testid="${testid}"]`);
const click = (testid: string) => act(() => $(testid)!.click());

beforeEach(() => {
    document.body.innerHTML = '<div id="app"></div>';
    location.hash = "";
    store = createStore();
    lang = "tr";
    removed = [];
    app = createApp(store, () => lang);
    app.remove = async (m) => {
        removed.push(m.id);
        store.dispatch({ type: "media/gone", id: m.id });
        return null;
    };
    const prefs = { lang, theme: "light" as const, saveLang: (l: "tr" | "en") => (lang = l), saveTheme: () => undefined };
    act(() => render(<Root app={app} prefs={prefs} />, document.getElementById("app")!));
});

// Timers of what is shown would keep the process.
afterEach(() => act(() => render(null, document.getElementById("app")!)));

const load = (...items: ReturnType<typeof media>[]) => act(() => store.dispatch({ type: "list/done", generation: 0, more: false, page: { items, next: null } }));

test("skeleton, then the empty library that teaches", () => {
    assert.ok($("skeleton"));
    load();
    assert.match($("empty")!.textContent!, /Kervan yola hazır/);
});

/* S0-21, S0-55 */
test("the badge says işleniyor and turns ready without a reload", () => {
    load(media(1, { status: "PENDING" }));
    const badge = $("tile-status")!;
    assert.equal(badge.dataset["status"], "PENDING");
    assert.match(badge.textContent!, /işleniyor/);
    act(() => store.dispatch({ type: "media/upsert", media: media(1, { updated_at: "2026-01-01T00:00:02.000Z" }) }));
    assert.equal($("tile-status"), badge, "the same element, changed in place");
    assert.equal(badge.dataset["status"], "READY");
});

test("a FAILED row says why and offers to try again", () => {
    load(media(1, { status: "FAILED", error: "bad_image", error_detail: "premature end" }));
    assert.match($("tile")!.textContent!, /Görsel bozuk/);
    assert.ok($("retry"));
});

test("pictures carry their size, AVIF and WebP before the original", () => {
    const variants = ["avif", "webp"].map((format) => ({ format, width: 640, height: 427, size: 100, url: `/v.${format}` }));
    load(media(1, { variants }));
    const types = [...document.querySelectorAll("picture source")].map((s) => s.getAttribute("type"));
    assert.deepEqual(types, ["image/avif", "image/webp"]);
    const img = document.querySelector("picture img")!;
    assert.equal(img.getAttribute("width"), "1200");
    assert.equal(img.getAttribute("src"), media(1).url);
});

test("a format is called as in every language: ZIP, not ZİP as Turkish would write it large", () => {
    load(media(1, { mime: "application/zip", filename: "a.zip" }));
    assert.equal(document.querySelector(".glyph b")!.textContent, "ZIP");
});

test("a picture that could not be had is asked for again when the server is back", () => {
    load(media(1));
    act(() => void document.querySelector("picture img")!.dispatchEvent(new Event("error")));
    assert.equal(document.querySelector("picture"), null);
    act(() => store.dispatch({ type: "live", live: "live" }));
    assert.ok(document.querySelector("picture img"));
});

test("one more tile leaves the others as they are", () => {
    const { t } = app;
    const drawn: unknown[] = [];
    app.t = (key, vars) => (key === "tile.open" && drawn.push(vars!["name"]), t(key, vars));
    load(media(2), media(1));
    act(() => store.dispatch({ type: "media/upsert", media: media(3) }));
    assert.deepEqual(drawn, ["foto-2.jpg", "foto-1.jpg", "foto-3.jpg"]);
    assert.deepEqual([...document.querySelectorAll(".tile-name")].map((e) => e.textContent), ["foto-3.jpg", "foto-2.jpg", "foto-1.jpg"]);
});

test("the switch changes every sentence", () => {
    load(media(1));
    assert.match(document.querySelector("h1")!.textContent!, /Kütüphane/);
    click("lang-switch");
    assert.match(document.querySelector("h1")!.textContent!, /Library/);
    assert.match(document.querySelector(".tile-link")!.getAttribute("aria-label")!, /Details of/);
    assert.equal(document.documentElement.lang, "en");
});

test("deleting asks first", async () => {
    load(media(2), media(1));
    click("tile-delete");
    assert.equal($("delete-dialog")!.getAttribute("role"), "alertdialog");
    click("delete-cancel");
    assert.equal($("delete-dialog"), null);
    assert.deepEqual(removed, []);
    click("tile-delete");
    await act(async () => $("delete-confirm")!.click());
    assert.deepEqual(removed, [media(2).id]);
    assert.equal(document.querySelectorAll('[data-testid="tile"]').length, 1);
});

test("a dialog closes by its backdrop, not by its own padding, and tells what happens itself", () => {
    load(media(1));
    click("tile-delete");
    const dialog = $("delete-dialog")!;
    dialog.getBoundingClientRect = () => ({ left: 100, right: 500, top: 100, bottom: 300 }) as DOMRect;
    const press = (clientX: number) => act(() => void dialog.dispatchEvent(new MouseEvent("mousedown", { clientX, clientY: 110, bubbles: true })));
    press(110);
    assert.ok($("delete-dialog"), "pressed between its texts");
    const hear = () => dialog.querySelector('[data-testid="announcer"]')!.textContent;
    act(() => app.say("Kopyalandı"));
    const once = hear();
    assert.equal(once, "Kopyalandı");
    act(() => app.say("Kopyalandı"));
    assert.notEqual(hear(), once, "what does not change is not read out again");
    press(90);
    assert.equal($("delete-dialog"), null);
});

test("the detail view lists variants with what they save, and says when metadata was kept", () => {
    load(media(1, { metadata_kept: true, variants: [{ format: "webp", width: 320, height: 213, size: 160, url: "/v.webp" }] }));
    act(() => store.dispatch({ type: "detail", id: media(1).id }));
    assert.match($("variant")!.textContent!, /WEBP.*320 × 213.*160 B.*%84/);
    assert.ok($("metadata-kept"));
    assert.ok($("copy-url"));
});

test("an upload row has a progress bar with a value and a way out", () => {
    load();
    act(() =>
        store.dispatch({
            type: "upload/add",
            uploads: [{ key: 1, name: "a.jpg", type: "image/jpeg", size: 200, folder: "genel", phase: "sending", sent: 50, speed: 10, problem: null, local: false, retryAt: 0, mediaId: null, deduplicated: false, preview: null }],
        }),
    );
    assert.equal($("upload-progress")!.getAttribute("aria-valuenow"), "25");
    assert.match($("upload-cancel")!.getAttribute("aria-label")!, /a\.jpg/);
});

test("an upload cancelled when all of it was sent may be stored all the same, and says so", () => {
    load();
    const upload = { name: "a.jpg", type: "image/jpeg", size: 200, folder: "genel", phase: "cancelled" as const, speed: 0, problem: null, local: false, retryAt: 0, mediaId: null, deduplicated: false, preview: null };
    act(() => store.dispatch({ type: "upload/add", uploads: [{ ...upload, key: 1, sent: 200 }, { ...upload, key: 2, sent: 199 }] }));
    const said = [...document.querySelectorAll(".row-state")].map((e) => e.textContent!);
    assert.deepEqual(said, ["iptal edildi", "iptal edildi; yine de kaydedilmiş olabilir"]);
});

test("of thousands of uploads those are shown that matter most: each change costs as much as is shown", () => {
    load();
    const phases = ["done", "queued", "failed", "sending"] as const;
    const uploads = Array.from({ length: 1200 }, (_, i) => ({ key: i, name: `${i}.jpg`, type: "image/jpeg", size: 200, folder: "genel", phase: phases[i < 4 ? i : 1]!, sent: 0, speed: 0, problem: null, local: false, retryAt: 0, mediaId: null, deduplicated: false, preview: null }));
    act(() => store.dispatch({ type: "upload/add", uploads }));
    const rows = [...document.querySelectorAll<HTMLElement>('[data-testid="upload-row"]')].map((e) => e.dataset["phase"]);
    assert.deepEqual(rows, ["sending", "failed", ...Array.from({ length: 98 }, () => "queued")]);
    assert.match($("upload-panel")!.textContent!, /ve 1\.100 dosya daha/);
});

test("the theme follows the system until one is chosen", () => {
    const dark: { matches: boolean; onchange: () => void } = { matches: false, onchange: () => assert.fail() };
    const system = globalThis.matchMedia;
    globalThis.matchMedia = () => dark as unknown as MediaQueryList;
    try {
        const prefs = { lang, theme: "light" as const, saveLang: () => undefined, saveTheme: (theme: string) => void (document.documentElement.dataset["theme"] = theme) };
        act(() => render(null, document.getElementById("app")!));
        act(() => render(<Root app={app} prefs={prefs} />, document.getElementById("app")!));
        const change = (matches: boolean) => act(() => ((dark.matches = matches), dark.onchange()));
        change(true);
        assert.equal($("theme-switch")!.dataset["theme"], "dark");
        click("theme-switch");
        change(false);
        change(true);
        assert.equal($("theme-switch")!.dataset["theme"], "light");
    } finally {
        globalThis.matchMedia = system;
        delete document.documentElement.dataset["theme"];
    }
});

test("where an answer is empty but there is more to look at, the search goes on by itself", async () => {
    const asked: (string | null)[] = [];
    const pages: Record<string, unknown> = { first: { items: [], next: "c2" }, c2: { items: [], next: "c1" }, c1: { items: [media(1)], next: null } };
    let stop = "c2";
    let go = () => undefined as void;
    const stub = (name: string, value: unknown) => Object.defineProperty(globalThis, name, { configurable: true, writable: true, value });
    const fetchBefore = globalThis.fetch;
    stub("fetch", async (path: string) => {
        const cursor = new URL(path, location.href).searchParams.get("cursor");
        asked.push(cursor);
        if (cursor === stop) await new Promise<void>((done) => (go = done));
        return new Response(JSON.stringify(pages[cursor ?? "first"]));
    });
    stub("IntersectionObserver", class {
        constructor(private readonly seen: (entries: { isIntersecting: boolean }[]) => void) {}
        observe = () => setTimeout(() => this.seen([{ isIntersecting: true }]));
        disconnect = () => undefined;
    });
    const until = async (what: () => unknown) => {
        for (let i = 0; i < 200 && !what(); i++) await act(() => new Promise<void>((done) => setTimeout(done, 1)));
        assert.ok(what());
    };
    try {
        await act(async () => app.filter({ search: "foto" }));
        await until(() => asked.length === 2);
        assert.match($("load-more")!.textContent!, /Yükleniyor/);
        assert.equal($("no-match"), null);
        stop = "none";
        go();
        await until(() => $("tile"));
        assert.deepEqual(asked, [null, "c2", "c1"]);
        const shown = new Set<number>();
        store.subscribe(() => shown.add(store.get().order.length));
        await act(async () => void (await app.reload()));
        assert.deepEqual([...shown], [1], "a reload does not take away what was found");
    } finally {
        stub("fetch", fetchBefore);
        stub("IntersectionObserver", undefined);
    }
});

test("a listing that fails says so, and stays while it is tried again", () => {
    const problem = { status: 503, code: "broker_away", text: "", detail: "", retryAfter: null };
    act(() => store.dispatch({ type: "list/fail", generation: 0, problem }));
    assert.match($("list-error")!.textContent!, /yeniden başlıyor/);
    act(() => store.dispatch({ type: "list/start", more: false }));
    assert.ok($("list-error"));
});

/* S3-10, S3-11 */
test("the badge of a waiting picture says its place, live", () => {
    load(media(1, { status: "PENDING", jobId: "0000000000j01" }));
    const place = (n: number, status: "queued" | "processing") =>
        act(() => store.dispatch({ type: "q/position", position: { jobId: "0000000000j01", status, queue_position: n, lane_position: n, eta_seconds: null } }));
    assert.match($("tile-status")!.textContent!, /işleniyor/);
    place(3, "queued");
    assert.match($("tile-status")!.textContent!, /sırada 3/);
    place(2, "queued");
    assert.match($("tile-status")!.textContent!, /sırada 2/);
    place(0, "processing");
    assert.match($("tile-status")!.textContent!, /işleniyor/);
});

const openQueues = () => act(() => store.dispatch({ type: "view", view: "queues" }));

/* S4-98, S4-99, S4-100 */
test("a queue shows counts, times and errors, and asks before it is paused", async () => {
    openQueues();
    act(() => store.dispatch({ type: "q/state", at: Date.now(), list: [queue("ai", { waiting: 12, running: 2, workers: 1, error_rate: 0.25, dead_letters: 3, lanes: { urgent: 2, normal: 9, background: 1 }, wait_ms: { p50: 12, p90: 1400, p99: 90_000 } })] }));
    const text = $("queue")!.textContent!;
    assert.equal($("queue-waiting")!.textContent, "12");
    assert.equal($("lane-urgent")!.textContent, "Acil 2");
    assert.match(text, /12 ms.*1,4 sn.*2 dk/);
    assert.match(text, /%25/);
    assert.equal($("queue-dead")!.textContent, "3");
    const steered: string[] = [];
    app.queues.steer = async (service, action) => {
        steered.push(`${service} ${action}`);
        return null;
    };
    click("queue-pause");
    assert.equal($("queue-dialog")!.getAttribute("role"), "alertdialog");
    click("queue-no");
    assert.deepEqual(steered, []);
    click("queue-pause");
    await act(async () => $("queue-yes")!.click());
    assert.deepEqual(steered, ["ai pause"]);
    assert.equal($("queue-dialog"), null);
});

test("jobs come when it is known how much room the queues take", () => {
    openQueues();
    const jobs = () => document.getElementById("jobs")!.closest("[hidden]");
    assert.ok(jobs());
    act(() => store.dispatch({ type: "q/state", at: Date.now(), list: [] }));
    assert.equal(jobs(), null);
});

test("a queue may be called as something else is", () => {
    openQueues();
    const state = () => act(() => store.dispatch({ type: "q/state", at: Date.now(), list: [queue("constructor", { waiting: 3 })] }));
    state();
    state();
    assert.equal($("queue-waiting")!.textContent, "3");
    assert.equal(store.get().queues.trend["constructor"]!.length, 2);
    click("queue-fold");
    assert.equal($("queue-waiting"), null);
});

test("queues at rest are lines that open, and the focus stays", () => {
    openQueues();
    const many = Array.from({ length: 8 }, (_, i) => queue(`r${i}`, { dead_letters: i === 3 ? 2 : 0 }));
    const state = () => act(() => store.dispatch({ type: "q/state", at: Date.now(), list: [queue("busy", { running: 1 }), ...many] }));
    state();
    const resting = $("queues-resting") as HTMLDetailsElement;
    assert.equal(resting.open, false, "many are behind one line");
    assert.match(resting.querySelector("summary")!.textContent!, /8 boşta kuyruk/);
    const line = () => document.querySelector<HTMLElement>('[data-service="r3"]')!;
    assert.match(line().textContent!, /boşta.*İşçi 0.*Ölü mektup 2/);
    assert.equal(line().querySelector('[data-testid="queue-waiting"]'), null);
    const fold = line().querySelector<HTMLElement>('[data-testid="queue-fold"]')!;
    assert.equal(fold.getAttribute("aria-expanded"), "false");
    fold.focus();
    act(() => fold.click());
    assert.equal(fold.getAttribute("aria-expanded"), "true");
    assert.equal(document.activeElement, fold);
    assert.ok(line().querySelector('[data-testid="queue-waiting"]'));
    state(); // the next second
    assert.ok(line().querySelector('[data-testid="queue-waiting"]'));
});

test("where there are many, queues begin as lines", () => {
    openQueues();
    const many = Array.from({ length: 7 }, (_, i) => queue(`b${i}`, { waiting: i + 1, workers: 1 }));
    act(() => store.dispatch({ type: "q/state", at: Date.now(), list: many }));
    assert.equal($("queue-pause"), null);
    assert.match($("queue")!.textContent!, /b0.*Bekleyen 1 · Çalışan 0 · İşçi 1/);
    click("queue-fold");
    assert.ok($("queue-pause"));
});

test("what the server refuses is not offered: kervan's own queues are not drained", () => {
    openQueues();
    act(() => store.dispatch({ type: "q/state", at: Date.now(), list: [queue("image-process", { running: 1, own: true })] }));
    assert.ok($("queue-pause"));
    assert.equal($("queue-drain"), null);
});

test("the history says what failed on the way, and what was left out", () => {
    const at = "2026-01-01T00:00:00.000Z";
    const history = [
        { status: "queued" as const, at, attempt: 1, reason: "failed, to be tried again", error: "io", error_detail: "no such disk" },
        { status: "queued" as const, at, attempt: 1240, left_out: 1234, reason: "1234 steps left out" },
        { status: "error" as const, at, attempt: 1241, reason: "failed", error: "io", error_detail: "said above" },
    ];
    act(() => store.dispatch({ type: "q/open", id: job(1).jobId }));
    act(() => store.dispatch({ type: "q/job", job: job(1, { status: "error", error: "io", history }) }));
    const steps = [...$("job-history")!.querySelectorAll("li")].map((li) => li.textContent!);
    assert.match(steps[0]!, /yeniden denenecek.*io.*no such disk/);
    assert.match(steps[1]!, /^1\.234 adım atlandı/);
    assert.doesNotMatch(steps[1]!, /left out|sırada/);
    assert.match(steps[2]!, /başarısız oldu$/);
});

/* S4-97 */
test("who may not see queues is told how", () => {
    openQueues();
    act(() => store.dispatch({ type: "q/fail", problem: { status: 403, code: "forbidden", text: "", detail: "", retryAfter: null } }));
    assert.match($("queues-closed")!.textContent!, /kervan ctl/);
});

/* S3-14 */
test("jobs show their place, and what can be done with them", () => {
    openQueues();
    const jobs = [job(2, { queue_position: 2, eta_seconds: [3, 8] }), job(1, { status: "error", error: "stuck" })];
    act(() => store.dispatch({ type: "q/jobs", generation: 0, more: false, jobs, next: null }));
    const rows = [...document.querySelectorAll('[data-testid="job"]')];
    assert.match(rows[0]!.textContent!, /sırada 2 · 3 sn – 8 sn/);
    assert.match(rows[1]!.textContent!, /ilerlemediği için durduruldu/);
    assert.ok(rows[0]!.querySelector('[data-testid="job-cancel"]') && rows[1]!.querySelector('[data-testid="job-retry"]'));
    act(() => store.dispatch({ type: "q/position", position: { jobId: job(2).jobId, status: "queued", queue_position: 1, lane_position: 1, eta_seconds: null } }));
    assert.match(rows[0]!.textContent!, /sırada 1/);
});

test("an open job tells its history", () => {
    act(() => store.dispatch({ type: "q/open", id: job(1).jobId }));
    act(() => store.dispatch({ type: "q/job", job: job(1, { status: "processing", progress: 40, history: [{ status: "queued", at: "2026-01-01T00:00:00.000Z", attempt: 0 }, { status: "processing", at: "2026-01-01T00:00:02.500Z", attempt: 1, worker: "w-1" }] }) }));
    assert.match($("job-history")!.textContent!, /sırada.*işleniyor.*\+2,5 sn · 1\. deneme · w-1/);
    assert.match($("job-now")!.textContent!, /%40/);
});
