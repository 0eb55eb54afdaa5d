// The page in happy-dom, with a store and an app that records instead of asking a server.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
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
const { media } = await import("./fixtures");

type Store = ReturnType<typeof createStore>;
let store: Store;
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
    const app = createApp(store, () => lang);
    app.remove = async (m) => {
        removed.push(m.id);
        store.dispatch({ type: "media/gone", id: m.id });
        return null;
    };
    const prefs = { lang, theme: "light" as const, saveLang: (l: "tr" | "en") => (lang = l), saveTheme: () => undefined };
    act(() => render(<Root app={app} prefs={prefs} />, document.getElementById("app")!));
});

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

test("the switch changes every sentence", () => {
    load(media(1));
    assert.match(document.querySelector("h1")!.textContent!, /Kütüphane/);
    click("lang-switch");
    assert.match(document.querySelector("h1")!.textContent!, /Library/);
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

test("a listing that fails says so, and stays while it is tried again", () => {
    const problem = { status: 503, code: "broker_away", text: "", detail: "", retryAfter: null };
    act(() => store.dispatch({ type: "list/fail", generation: 0, problem }));
    assert.match($("list-error")!.textContent!, /yeniden başlıyor/);
    act(() => store.dispatch({ type: "list/start", more: false }));
    assert.ok($("list-error"));
});
