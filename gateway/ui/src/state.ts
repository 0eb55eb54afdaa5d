// The store: one state, one pure reducer. Effects (requests, sockets, uploads) live in app.ts and uploads.ts.
import type { LiveState } from "./live";
import { initialQueues, reduceQueues, type QueuesAction, type QueuesState } from "./queues";
import { matches, stays, type Config, type Filter, type Folder, type FoldersPage, type Media, type Page, type Problem } from "./model";

export type Phase = "queued" | "sending" | "saving" | "backoff" | "done" | "failed" | "cancelled";

export interface Upload {
    key: number;
    name: string;
    type: string;
    size: number;
    folder: string;
    phase: Phase;
    sent: number;
    /** Bytes per second, smoothed; 0: not known yet. */
    speed: number;
    problem: Problem | null;
    /** Refused by the page before sending; the user may send it all the same. */
    local: boolean;
    /** backoff: when the next try is due (ms of performance.now()); 0: when the connection is back. */
    retryAt: number;
    mediaId: string | null;
    deduplicated: boolean;
    preview: string | null;
}

export type Load = "idle" | "first" | "more" | "error";

export type View = "library" | "queues";

export interface State {
    view: View;
    queues: QueuesState;
    items: Readonly<Record<string, Media>>;
    /** Ids of the list as filtered, newest first. */
    order: readonly string[];
    next: string | null;
    load: Load;
    /** Whether a first page has ever come for this filter. */
    loaded: boolean;
    problem: Problem | null;
    /** Rows that were pushed while a list answer is under way: it may not know them yet. */
    arrived: readonly string[];
    /** Grows with each filter change: answers to older questions are dropped. */
    generation: number;
    filter: Filter;
    folders: readonly Folder[] | null;
    /** Whether there are more than those: they are reached by their address. */
    foldersCut: boolean;
    config: Config | null;
    uploads: readonly Upload[];
    live: LiveState;
    online: boolean;
    detail: string | null;
    detailGone: boolean;
    confirming: string | null;
    /** Became READY while the page was looking. */
    fresh: Readonly<Record<string, true>>;
    /** Deleted here or elsewhere: a slower answer must not bring them back. */
    gone: Readonly<Record<string, true>>;
    /** The rows as of the last resync: whatever comes of them since then counts. */
    past: Readonly<Record<string, Media>>;
    /** What the screen reader is told. */
    said: string;
}

export type Action =
    | QueuesAction
    | { type: "view"; view: View }
    | { type: "list/start"; more: boolean }
    | { type: "list/done"; generation: number; more: boolean; page: Page }
    | { type: "list/fail"; generation: number; problem: Problem }
    | { type: "media/upsert"; media: Media }
    | { type: "media/gone"; id: string }
    | { type: "resync" }
    | { type: "filter"; filter: Partial<Filter> }
    | { type: "folders"; page: FoldersPage }
    | { type: "config"; config: Config }
    | { type: "upload/add"; uploads: Upload[] }
    | { type: "upload/set"; key: number; patch: Partial<Upload> }
    | { type: "upload/clear" }
    | { type: "live"; live: LiveState }
    | { type: "online"; online: boolean }
    | { type: "detail"; id: string | null }
    | { type: "confirm"; id: string | null }
    | { type: "say"; text: string };

const KEPT = 500; // rows that pushes alone bring, and rows and deleted ids beside the list

export const noFilter: Filter = { folder: "", status: "", search: "" };

export const initialState: State = {
    view: "library",
    queues: initialQueues,
    items: {},
    order: [],
    next: null,
    load: "idle",
    loaded: false,
    problem: null,
    arrived: [],
    generation: 0,
    filter: noFilter,
    folders: null,
    foldersCut: false,
    config: null,
    uploads: [],
    live: "connecting",
    online: true,
    detail: null,
    detailGone: false,
    confirming: null,
    fresh: {},
    gone: {},
    past: {},
    said: "",
};

export const finished = (u: Upload): boolean => u.phase === "done" || u.phase === "failed" || u.phase === "cancelled";

/** Waits for the connection. */
export const isLost = (u: Upload): boolean => u.phase === "backoff" && u.retryAt === 0;

export function reduce(s: State, a: Action): State {
    switch (a.type) {
        case "list/start":
            return { ...s, load: a.more ? "more" : "first", arrived: [] }; // an error stays on the screen until there is an answer
        case "list/done":
            return a.generation === s.generation ? listDone(s, a.page, a.more) : s;
        case "list/fail":
            return a.generation === s.generation ? { ...s, load: "error", problem: a.problem } : s;
        case "media/upsert":
            return upsert(s, a.media);
        case "media/gone":
            return gone(s, a.id);
        case "resync": // the log does not lead from there to here: another database may have been put back
            return { ...s, past: s.items, gone: {} };
        case "filter":
            return refilter(s, { ...s.filter, ...a.filter });
        case "folders":
            return { ...s, folders: a.page.folders, foldersCut: a.page.next !== null };
        case "config":
            return { ...s, config: a.config };
        case "upload/add":
            return { ...s, uploads: [...s.uploads, ...a.uploads] };
        case "upload/set":
            return { ...s, uploads: s.uploads.map((u) => (u.key === a.key ? { ...u, ...a.patch } : u)) };
        case "upload/clear":
            return { ...s, uploads: s.uploads.filter((u) => !finished(u)) };
        case "live":
            return s.live === a.live ? s : { ...s, live: a.live };
        case "online":
            return { ...s, online: a.online };
        case "detail":
            return { ...s, detail: a.id, detailGone: a.id !== null && a.id in s.gone };
        case "confirm":
            return { ...s, confirming: a.id };
        case "say":
            return { ...s, said: a.text === s.said ? `${a.text}\xa0` : a.text }; // the same again would be no change to hear
        case "view":
            return s.view === a.view ? s : { ...s, view: a.view };
        default: {
            const queues = reduceQueues(s.queues, a);
            return queues === s.queues ? s : { ...s, queues };
        }
    }
}

/** Until the answer comes, what is known and fits is shown: narrowing a filter is instant. */
function refilter(s: State, filter: Filter): State {
    const order = s.order.filter((id) => matches(s.items[id]!, filter));
    return { ...s, filter, generation: s.generation + 1, order, next: null, loaded: false, load: "idle", problem: null };
}

/** The newer of two versions of a row: an event may overtake the list, and the other way round. */
function newer(s: State, items: State["items"], media: Media): Media {
    const known = items[media.id];
    return known && known !== s.past[media.id] && known.updated_at > media.updated_at ? known : media;
}

function listDone(s: State, page: Page, more: boolean): State {
    const items = { ...s.items };
    const ids: string[] = [];
    for (const media of page.items) {
        if (media.id in s.gone) continue;
        const kept = newer(s, items, media);
        items[media.id] = kept;
        if (stays(kept, s.filter)) ids.push(media.id);
    }
    let order: readonly string[] = more ? [...s.order, ...ids.filter((id) => !s.order.includes(id))] : ids;
    for (const id of s.arrived) if (items[id] && matches(items[id], s.filter)) order = inserted(order, page.next, id);
    return { ...s, items, order, arrived: [], next: page.next, load: "idle", loaded: true, problem: null };
}

function upsert(s: State, media: Media): State {
    if (media.id in s.gone) return s;
    const known = s.items[media.id];
    const kept = newer(s, s.items, media);
    if (kept === known) return s;
    const fresh = known?.status === "PENDING" && kept.status === "READY" ? { ...s.fresh, [kept.id]: true as const } : s.fresh;
    const arrived = s.load === "first" || s.load === "more" ? [...s.arrived, kept.id] : s.arrived;
    const detailGone = s.detailGone && s.detail !== kept.id;
    return bounded({ ...s, items: { ...s.items, [kept.id]: kept }, fresh, arrived, detailGone, order: place(s, kept) }, s.order.length);
}

/** A page is open for weeks while others upload. What is pushed makes a long list no longer: its end comes again as a later page. */
function bounded(s: State, before: number): State {
    if (s.load !== "idle") return s;
    let { order, next } = s;
    if (order.length > Math.max(KEPT, before)) {
        order = order.slice(0, -1);
        next = order.at(-1)!;
    }
    const size = Object.keys(s.items).length + Object.keys(s.gone).length;
    if (size <= order.length + KEPT) return { ...s, order, next };
    const items: Record<string, Media> = {};
    for (const id of [...order, s.detail, s.confirming]) if (id && s.items[id]) items[id] = s.items[id];
    return { ...s, items, order, next, fresh: {}, gone: {} };
}

/** The list after a row changed. */
function place(s: State, media: Media): readonly string[] {
    if (s.order.includes(media.id)) return stays(media, s.filter) ? s.order : s.order.filter((id) => id !== media.id);
    return s.loaded && matches(media, s.filter) ? inserted(s.order, s.next, media.id) : s.order;
}

/** Ids grow with time, so newest first is by id, descending. `next` is the id down to which the server looked. */
function inserted(order: readonly string[], next: string | null, id: string): readonly string[] {
    if (order.includes(id)) return order;
    const before = order.findIndex((other) => other < id);
    if (before >= 0) return [...order.slice(0, before), id, ...order.slice(before)];
    return next === null || id >= next ? [...order, id] : order; // else it comes with a later page
}

function gone(s: State, id: string): State {
    const items = { ...s.items };
    delete items[id];
    return {
        ...s,
        items,
        order: s.order.filter((other) => other !== id),
        gone: { ...s.gone, [id]: true },
        detailGone: s.detailGone || s.detail === id,
        confirming: s.confirming === id ? null : s.confirming,
    };
}

export interface Store {
    get(): State;
    dispatch(action: Action): void;
    subscribe(fn: () => void): () => void;
}

export function createStore(state: State = initialState): Store {
    const listeners = new Set<() => void>();
    return {
        get: () => state,
        dispatch(action) {
            const next = reduce(state, action);
            if (next === state) return;
            state = next;
            listeners.forEach((fn) => fn());
        },
        subscribe(fn) {
            listeners.add(fn);
            return () => listeners.delete(fn);
        },
    };
}
