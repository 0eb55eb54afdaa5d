// Glue for queues and jobs: requests, what is watched, and when lists are read again.
import { sameFilter } from "./address";
import { api } from "./api";
import type { Lang } from "./i18n";
import type { Live } from "./live";
import type { LiveMessage, Problem } from "./model";
import { readQueues, signature, unfinished, type JobFilter, type Position, type Queue, type SteerAction } from "./queues";
import type { State, Store } from "./state";

const PAGE = 50;
const PAGE_MAX = 200;
const WATCH_MAX = 500; // the server takes 1000, and messages of 20 KB: this many come and go in one
const TILES_WATCHED = 200;
const REFRESH_MS = 1500; // lists are read again at most so often
const RETRY_MS = 3000;
const PROGRESS_MS = 2000; // an open job that is being worked on

export interface QueuesApp {
    filter(change: Partial<JobFilter>): void;
    more(): void;
    reload(): void;
    open(id: string | null): void;
    cancel(id: string): Promise<Problem | null>;
    retry(id: string): Promise<Problem | null>;
    steer(service: string, action: SteerAction): Promise<Problem | null>;
}

interface Deps {
    store: Store;
    lang(): Lang;
    live: Live;
    problemOf(error: unknown): Problem;
    hash(hash: string): void;
    /** The filter of the jobs changed. */
    filtered(): void;
}

/** Jobs whose positions are on the screen. */
export function watched(s: State): string[] {
    const ids = new Set<string>();
    let tiles = 0;
    for (const id of s.order) {
        const media = s.items[id];
        if (media?.jobId && tiles++ < TILES_WATCHED) ids.add(media.jobId);
    }
    if (s.view === "queues") for (const job of s.queues.jobs) if (unfinished(job.status)) ids.add(job.jobId);
    if (s.queues.open && (!s.queues.job || unfinished(s.queues.job.status))) ids.add(s.queues.open);
    return [...ids].slice(0, WATCH_MAX);
}

export function createQueuesApp({ store, lang, live, problemOf, hash, filtered }: Deps) {
    const { dispatch } = store;
    let listTimer: ReturnType<typeof setTimeout> | undefined;
    let queuesTimer: ReturnType<typeof setTimeout> | undefined;
    let jobTimer: ReturnType<typeof setTimeout> | undefined;
    let shown = ""; // signature of the list on the screen
    let listedAt = -REFRESH_MS; // not by the date: that may be set

    const isView = () => store.get().view === "queues";

    async function loadJobs(more: boolean): Promise<void> {
        const { generation, filter, next, jobs } = store.get().queues;
        clearTimeout(listTimer);
        listTimer = undefined;
        listedAt = performance.now();
        dispatch({ type: "q/jobs/start" });
        try {
            const limit = more ? PAGE : Math.min(PAGE_MAX, Math.max(PAGE, jobs.length));
            const page = await api.jobs(lang(), filter, more ? next : null, limit);
            dispatch({ type: "q/jobs", generation, more, jobs: page.jobs, next: page.next });
        } catch (error) {
            dispatch({ type: "q/jobs/fail", generation, problem: problemOf(error) });
            jobsSoon();
        }
    }

    function jobsSoon(): void {
        if (listTimer !== undefined || !isView()) return;
        listTimer = setTimeout(() => void loadJobs(false), Math.max(0, listedAt + REFRESH_MS - performance.now()));
    }

    function takeQueues(list: Queue[]): void {
        dispatch({ type: "q/state", list, at: Date.now() });
        const now = signature(list, store.get().queues.filter.service);
        if (now !== shown) {
            shown = now;
            jobsSoon();
        }
    }

    /** Once by request: so it is known whether this browser may ask for more. */
    async function loadQueues(): Promise<void> {
        clearTimeout(queuesTimer);
        try {
            takeQueues(readQueues((await api.queues(lang())).queues));
        } catch (error) {
            const problem = problemOf(error);
            dispatch({ type: "q/fail", problem });
            if (problem.status !== 403 && isView()) queuesTimer = setTimeout(() => void loadQueues(), RETRY_MS);
        }
    }

    async function loadJob(): Promise<void> {
        const id = store.get().queues.open;
        clearTimeout(jobTimer);
        if (!id) return;
        try {
            const job = await api.job(lang(), id);
            dispatch({ type: "q/job", job });
            if (job.status === "processing" && store.get().queues.open === id) jobTimer = setTimeout(() => void loadJob(), PROGRESS_MS);
        } catch (error) {
            dispatch({ type: "q/job/fail", id, problem: problemOf(error) });
        }
    }

    /** What is on the screen decides what the server is asked to push. */
    let last: unknown[] = [];
    store.subscribe(() => {
        const s = store.get();
        const now = [s.view, s.order, s.items, s.queues.jobs, s.queues.open, s.queues.job?.status, s.queues.list === null];
        if (now.every((v, i) => v === last[i])) return;
        last = now;
        live.want(watched(s), s.view === "queues" && s.queues.list !== null);
    });

    const act = async (what: () => Promise<unknown>): Promise<Problem | null> => {
        try {
            await what();
            jobsSoon();
            void loadJob();
            return null;
        } catch (error) {
            return problemOf(error);
        }
    };

    function filter(change: Partial<JobFilter>): void {
        dispatch({ type: "q/filter", filter: change });
        shown = signature(store.get().queues.list, store.get().queues.filter.service);
        if (isView()) void loadJobs(false); // else opening the view reads it
    }

    const app: QueuesApp = {
        filter(change) {
            filter(change);
            filtered();
        },
        more: () => void loadJobs(true),
        reload: () => void loadJobs(false),
        open: (id) => hash(id ? `#/jobs/${id}` : isView() ? "#/queues" : ""),
        cancel: (id) => act(() => api.cancelJob(lang(), id)),
        retry: (id) =>
            act(async () => {
                const made = await api.retryJob(lang(), id);
                if (store.get().queues.open === id) app.open(made.jobId);
            }),
        steer: (service, action) =>
            act(async () => {
                await api.steer(lang(), service, action);
                await loadQueues();
            }),
    };

    return {
        app,
        /** As the address has it. */
        refilter(as: JobFilter): void {
            if (!sameFilter(as, store.get().queues.filter)) filter(as);
        },
        /** The view was opened or the connection is new. */
        refresh(): void {
            if (isView()) {
                void loadQueues();
                void loadJobs(false);
            }
            if (store.get().queues.open) void loadJob();
        },
        show(id: string | null): void {
            if (id === store.get().queues.open) return;
            dispatch({ type: "q/open", id });
            void loadJob();
        },
        hear(message: LiveMessage): void {
            if (message.type === "queues" && Array.isArray(message.queues)) takeQueues(readQueues(message.queues as Queue[]));
            if (message.type !== "job.position" || !message.jobId) return;
            const position = message as unknown as Position;
            const before = store.get().queues.job;
            dispatch({ type: "q/position", position });
            if (store.get().queues.open === position.jobId && before?.status !== position.status) void loadJob();
        },
    };
}
