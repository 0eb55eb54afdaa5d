import assert from "node:assert/strict";
import { test } from "node:test";
import type { Media } from "../src/model";
import { createStore, initialState, reduce, type Action, type State } from "../src/state";
import { media } from "./fixtures";

const run = (...actions: Action[]): State => actions.reduce(reduce, initialState);
const page = (items: Media[], next: string | null = null, more = false, generation = 0): Action => ({ type: "list/done", generation, more, page: { items, next } });
const ids = (s: State) => s.order.map(Number);

test("pages are appended without doubles", () => {
    const s = run(page([media(5), media(4)], "4"), page([media(4), media(3)], null, true));
    assert.deepEqual(ids(s), [5, 4, 3]);
    assert.equal(s.next, null);
});

test("an answer to an older filter is dropped", () => {
    const s = run(page([media(5)]), { type: "filter", filter: { search: "x" } }, page([media(9)]));
    assert.deepEqual(ids(s), []);
    assert.equal(s.loaded, false);
});

test("narrowing a filter shows at once what is known to fit", () => {
    const s = run(page([media(5, { folder: "a/b" }), media(4), media(3, { folder: "ab" })]), { type: "filter", filter: { folder: "a" } });
    assert.deepEqual(ids(s), [5]);
});

test("a new row goes where its id belongs", () => {
    const s = run(page([media(9), media(5)]), { type: "media/upsert", media: media(7) }, { type: "media/upsert", media: media(11) }, { type: "media/upsert", media: media(1) });
    assert.deepEqual(ids(s), [11, 9, 7, 5, 1]);
});

test("a row pushed while a list answer is under way is not lost to it", () => {
    const start: Action = { type: "list/start", more: false };
    const pushed = (n: number, over = {}): Action => ({ type: "media/upsert", media: media(n, over) });
    assert.deepEqual(ids(run(start, pushed(7), page([media(5)]))), [7, 5], "the first load");
    assert.deepEqual(ids(run(page([media(5)]), start, pushed(7), pushed(6), page([media(5)]))), [7, 6, 5], "a reload");
    const deleted: Action = { type: "media/gone", id: media(7).id };
    assert.deepEqual(ids(run(start, pushed(7), deleted, page([media(5)]))), [5]);
    assert.deepEqual(ids(run(start, pushed(4), page([media(5)], "5"))), [5], "it comes with a later page");
    assert.deepEqual(ids(run(start, pushed(7), start, page([media(5)]))), [5], "the newer answer knows better");
});

test("a pushed row newer than what the server looked at comes into a list that is short or empty", () => {
    const s = run(page([], media(5).id), { type: "media/upsert", media: media(7) }, { type: "media/upsert", media: media(6) }, { type: "media/upsert", media: media(4) });
    assert.deepEqual(ids(s), [7, 6]);
});

test("of the pushed rows only those that fit come into the list", () => {
    const filter: Action = { type: "filter", filter: { status: "READY" } };
    const start = (more: boolean): Action => ({ type: "list/start", more });
    const ready = (n: number): Action => ({ type: "media/upsert", media: media(n) });
    const pending: Action = { type: "media/upsert", media: media(8, { status: "PENDING" }) };
    assert.deepEqual(ids(run(filter, start(false), pending, ready(7), page([media(5)], null, false, 1))), [7, 5]);
    const s = run(filter, start(false), page([media(9), media(5)], "5", false, 1), start(true), ready(3), page([media(4), media(2)], "2", true, 1));
    assert.deepEqual(ids(s), [9, 5, 4, 3, 2], "READY after the next page was read");
});

test("an old row beyond the last page loaded waits for its page", () => {
    const s = run(page([media(9), media(5)], "5"), { type: "media/upsert", media: media(1) });
    assert.deepEqual(ids(s), [9, 5]);
    assert.ok(s.items[media(1).id]);
});

test("what is pushed for weeks makes neither the list nor what is remembered longer", () => {
    let s = run(page([media(3), media(2), media(1)]));
    for (let n = 4; n <= 3000; n++) s = reduce(s, { type: "media/upsert", media: media(n) });
    assert.equal(s.order.length, 500);
    assert.ok(Object.keys(s.items).length <= 1000);
    assert.equal(s.next, media(2501).id, "the rest comes as a later page");
    s = reduce(reduce(s, { type: "list/start", more: true }), { type: "media/upsert", media: media(3001) });
    s = reduce(s, page([media(2500), media(2499)], "2499", true));
    assert.deepEqual(ids(s), Array.from({ length: 503 }, (_, i) => 3001 - i), "nothing is left out");
    s = reduce(s, { type: "media/upsert", media: media(3002) });
    assert.equal(s.order.length, 503, "what was scrolled to stays");
    for (let n = 4000; n < 6000; n++) s = [{ type: "media/upsert", media: media(n) } as const, { type: "media/gone", id: media(n).id } as const].reduce(reduce, s);
    assert.ok(Object.keys(s.gone).length <= 1003);
});

/* S0-55 */
test("PENDING turns READY by an event, and is marked as seen happening", () => {
    const pending = media(5, { status: "PENDING" });
    const ready = media(5, { updated_at: "2026-01-01T00:00:01.000Z" });
    const s = run(page([pending]), { type: "media/upsert", media: ready });
    assert.equal(s.items[ready.id]!.status, "READY");
    assert.ok(s.fresh[ready.id]);
});

test("an older version never overwrites a newer one, from events or lists", () => {
    const ready = media(5, { updated_at: "2026-01-01T00:00:01.000Z" });
    const stale = media(5, { status: "PENDING" });
    const s = run(page([ready]), { type: "media/upsert", media: stale }, page([stale]));
    assert.equal(s.items[ready.id]!.status, "READY");
});

test("a row that no longer fits the filter leaves the list", () => {
    const s = run(
        { type: "filter", filter: { status: "PENDING" } },
        page([media(5, { status: "PENDING" })], null, false, 1),
        { type: "media/upsert", media: media(5, { updated_at: "2026-01-01T00:00:01.000Z" }) },
    );
    assert.deepEqual(ids(s), []);
});

test("what is deleted stays deleted, whatever arrives late", () => {
    const s = run(page([media(5), media(4)]), { type: "media/gone", id: media(5).id }, page([media(5), media(4)]), { type: "media/upsert", media: media(5) });
    assert.deepEqual(ids(s), [4]);
    assert.equal(s.items[media(5).id], undefined);
});

test("after a resync only what comes then counts: a backup may have been put back", () => {
    const id = media(5).id;
    const before = run(
        page([media(6, { status: "READY", updated_at: "2026-01-01T00:00:01.000Z" }), media(5)]),
        { type: "detail", id },
        { type: "media/gone", id },
        { type: "resync" },
    );
    assert.deepEqual(ids(before), [6], "what is on the screen stays until the answer comes");
    const s = [page([media(6, { status: "PENDING" }), media(5)]), { type: "media/upsert", media: media(5) } as const].reduce(reduce, before);
    assert.equal(s.detailGone, false);
    assert.deepEqual(ids(s), [6, 5]);
    assert.equal(s.items[media(6).id]!.status, "PENDING");
    const ready = { type: "media/upsert", media: media(6, { updated_at: "2026-01-01T00:00:02.000Z" }) } as const;
    assert.equal([ready, page([media(6, { status: "PENDING" })])].reduce(reduce, s).items[media(6).id]!.status, "READY");
});

test("deleting what is open says so and closes the question", () => {
    const id = media(5).id;
    const s = run(page([media(5)]), { type: "detail", id }, { type: "confirm", id }, { type: "media/gone", id });
    assert.equal(s.detailGone, true);
    assert.equal(s.confirming, null);
});

test("an error stays until there is an answer", () => {
    const problem = { status: 503, code: "busy", text: "", detail: "", retryAfter: null };
    const failed = run({ type: "list/fail", generation: 0, problem }, { type: "list/start", more: false });
    assert.equal(failed.problem, problem);
    assert.equal(reduce(failed, page([])).problem, null);
});

const searched = (search: string, ...items: Media[]) => run({ type: "filter", filter: { search } }, page(items, null, false, 1));
const pushed = (search: string, ...names: string[]) => names.reduce((s, filename, i) => reduce(s, { type: "media/upsert", media: media(9 - i, { filename }) }), searched(search)).order.map((id) => 10 - Number(id));

test("search knows neither case nor accents, like the server", () => {
    assert.deepEqual(pushed("ıŞt", "IST.jpg", "İst.jpg", "ıst.jpg", "Ist\u0327.jpg", "öst.jpg"), [1, 2, 3, 4]);
});

test("search knows neither the form of a sigma nor what is not seen, like the server", () => {
    assert.deepEqual(pushed("οδος", "οδος.txt", "ΟΔΟΣ", "οδοσ", "οδο"), [1, 2, 3]);
    assert.deepEqual(pushed("kapak", "ka\u00adpak.txt", "ka\u200bpak.txt", "\u2060KAPAK", "ka pak"), [1, 2, 3]);
    assert.deepEqual(pushed("ka\u00adpak", "kapak.txt"), [1]);
});

test("what the server found is shown, and stays while its state changes", () => {
    const found = media(5, { filename: "not as the page folds", status: "PENDING" });
    const s = searched("x", found);
    assert.deepEqual(ids(s), [5]);
    const ready = { ...found, status: "READY" as const, updated_at: "2026-01-01T00:00:01.000Z" };
    assert.deepEqual(ids(reduce(s, { type: "media/upsert", media: ready })), [5]);
});

test("the store tells listeners only of changes", () => {
    const store = createStore();
    let told = 0;
    const off = store.subscribe(() => told++);
    store.dispatch({ type: "live", live: "live" });
    store.dispatch({ type: "live", live: "live" });
    off();
    store.dispatch({ type: "live", live: "polling" });
    assert.equal(told, 1);
});
