// Glue: turns what the user and the server do into requests and store actions. Components call nothing else.
import { readFilters, sameFilter, writeFilters } from "./address";
import { api, ApiError, localProblem, problemText, sendFile } from "./api";
import { createQueuesApp, type QueuesApp } from "./app-queues";
import { filesOfPaste, hasFiles } from "./files";
import { fmtBytes, fmtBytesBeside, translate, type Key, type Lang, type Vars } from "./i18n";
import { browserDeps, Live } from "./live";
import { clipBytes, DEFAULT_FOLDER, folderValid, originalShows, SEARCH_MAX, type Filter, type LiveEvent, type Media, type Problem } from "./model";
import { finished, type Store, type Upload } from "./state";
import { Uploads } from "./uploads";

const PAGE = 48;
const PAGE_MAX = 200; // the server's limit
const FOLDERS_DELAY_MS = 800;
const RETRY_MS = 3000;
const ASLEEP_MS = 30_000; // hidden for longer: reconnect instead of trusting the socket

export interface App {
    store: Store;
    uploads: Uploads;
    lang(): Lang;
    t(key: Key, vars?: Vars): string;
    /** `bytes`: the size of the file it is about. */
    problem(problem: Problem, bytes?: number): string;
    addFiles(files: readonly File[]): void;
    pasteFiles(transfer: DataTransfer): boolean;
    setFolder(folder: string): void;
    filter(change: Partial<Filter>): void;
    more(): void;
    reload(): Promise<boolean>;
    openDetail(id: string | null): void;
    queues: QueuesApp;
    remove(media: Media): Promise<Problem | null>;
    retry(id: string): Promise<Problem | null>;
    say(text: string): void;
    start(): void;
}

export function createApp(store: Store, lang: () => Lang): App {
    const { dispatch } = store;
    const t = (key: Key, vars?: Vars) => translate(lang(), key, vars);
    const say = (text: string) => dispatch({ type: "say", text });
    const problem = (p: Problem, bytes?: number) => {
        const max = store.get().config?.max_upload_bytes;
        const vars: Vars = max ? { max: fmtBytes(lang(), max) } : {};
        if (bytes !== undefined) vars["size"] = fmtBytesBeside(lang(), bytes, max);
        return problemText(lang(), p, vars);
    };
    const problemOf = (error: unknown) => (error instanceof ApiError ? error.problem : localProblem("network"));
    let folder = "";
    let listAbort: AbortController | null = null;
    let folderTimer: ReturnType<typeof setTimeout> | undefined;

    async function list(more: boolean, limit: number): Promise<boolean> {
        const { generation, filter, next, order } = store.get();
        listAbort?.abort();
        const abort = (listAbort = new AbortController());
        dispatch({ type: "list/start", more });
        try {
            const page = await api.list(lang(), filter, more ? next : null, Math.min(limit, PAGE_MAX), abort.signal);
            // The server looks at so many files for one answer; what is on the screen stays until as much is found again.
            while (!more && page.next !== null && page.items.length < Math.min(limit, order.length)) {
                const further = await api.list(lang(), filter, page.next, Math.min(limit, PAGE_MAX), abort.signal);
                page.items.push(...further.items);
                page.next = further.next;
            }
            if (abort.signal.aborted) return false;
            dispatch({ type: "list/done", generation, more, page });
            return true;
        } catch (error) {
            if (!abort.signal.aborted) dispatch({ type: "list/fail", generation, problem: problemOf(error) });
            return false;
        }
    }

    // As much as is on the screen already, so that nothing the user scrolled past goes away.
    const reload = () => list(false, Math.max(PAGE, store.get().order.length));

    async function loadFolders(): Promise<void> {
        try {
            dispatch({ type: "folders", page: await api.folders(lang()) });
        } catch {
            return; // suggestions only; the next change asks again
        }
    }

    // Not put off by each change: where uploads keep coming the numbers would stand still.
    function foldersSoon(): void {
        folderTimer ??= setTimeout(() => {
            folderTimer = undefined;
            void loadFolders();
        }, FOLDERS_DELAY_MS);
    }

    async function loadConfig(): Promise<void> {
        try {
            dispatch({ type: "config", config: await api.config(lang()) });
        } catch {
            return; // checks before sending are a courtesy; asked again with the next connection
        }
    }

    function onEvent(event: LiveEvent): void {
        const id = event.mediaId ?? event.media?.id;
        if (event.type === "media.deleted" && id) dispatch({ type: "media/gone", id });
        else if (event.media) {
            dispatch({ type: "media/upsert", media: event.media });
            if (event.type === "media.ready") say(t("say.ready", { name: event.media.filename }));
            if (event.type === "media.failed") say(t("say.mediaFailed", { name: event.media.filename }));
        }
        if (event.type === "media.created" || event.type === "media.deleted") foldersSoon();
    }

    async function loadDetail(id: string): Promise<void> {
        try {
            dispatch({ type: "media/upsert", media: await api.media(lang(), id) });
        } catch (error) {
            const { code } = problemOf(error); // a 404 without one is a proxy's
            if (code === "not_found" || code === "bad_id") dispatch({ type: "media/gone", id });
            else if (!store.get().items[id]) setTimeout(() => store.get().detail === id && void loadDetail(id), RETRY_MS);
        }
    }

    /** What is open may have been deleted or changed without an event for us; a list need not hold it. */
    function reloadDetail(): void {
        const id = store.get().detail;
        if (id) void loadDetail(id);
    }

    const uploads = new Uploads({
        store,
        send: sendFile,
        options: (u: Upload) => ({ lang: lang(), folder: u.folder, declare: store.get().config?.allowed_mime_types ?? [] }),
        now: () => performance.now(), // the date may be set
        setTimer: (fn, ms) => setTimeout(fn, ms),
        clearTimer: (timer) => clearTimeout(timer as number),
        preview: (file) => (originalShows(file.type) ? URL.createObjectURL(file) : null),
        dropPreview: (url) => URL.revokeObjectURL(url),
        stored(upload, answer) {
            say(t(answer.deduplicated ? "say.known" : "say.stored", { name: upload.name }));
            dispatch({ type: "media/upsert", media: answer }); // the live event may come before or after
            foldersSoon();
        },
        lost: () => say(t("up.offline")),
        failed: (upload, p) => say(t("say.failed", { name: upload.name, why: problem(p, upload.size) })),
    });

    const live = new Live({
        ...browserDeps(),
        onEvent,
        onMessage: (message) => queues.hear(message),
        onResync() {
            dispatch({ type: "resync" });
            void reload();
            reloadDetail();
            queues.refresh();
            void loadFolders();
        },
        readLog: (path) => api.log(lang(), path).catch(() => null),
        onPoll() {
            const searching = store.get().load === "more"; // it would begin anew
            if (!searching) dispatch({ type: "resync" }); // who polls is not told of one
            reloadDetail();
            queues.refresh();
            return searching ? Promise.resolve(true) : reload();
        },
        onState(state) {
            const before = store.get().live;
            dispatch({ type: "live", live: state });
            if (state !== "live" && state !== "polling") return;
            if (state === "live" || state !== before) void loadConfig(); // the server may have been started anew, with other limits
            reached();
        },
    });

    /** The server answers, whatever the browser says of the network: it may be this machine. */
    function reached(): void {
        dispatch({ type: "online", online: true });
        uploads.resume();
        if (store.get().load === "error") void reload();
    }

    function addFiles(files: readonly File[]): void {
        if (files.length === 0) return;
        say(t("say.added", { n: files.length }));
        uploads.add(files, folderValid(folder) ? folder || DEFAULT_FOLDER : DEFAULT_FOLDER);
    }

    const queues = createQueuesApp({
        store,
        lang,
        live,
        problemOf,
        hash(hash) {
            if (hash) location.hash = hash;
            else history.pushState(null, "", location.pathname + location.search);
            readAddress();
        },
        filtered: () => writeAddress(true),
    });

    /** `step`: the browser's back button comes back to what was before. */
    function writeAddress(step: boolean): void {
        const s = store.get();
        const query = writeFilters(location.search, { media: s.filter, jobs: s.queues.filter });
        if (query === location.search) return;
        const url = location.pathname + query + location.hash;
        if (step) history.pushState(null, "", url);
        else history.replaceState(null, "", url);
    }

    function readAddressFilters(): void {
        const { media, jobs } = readFilters(location.search);
        if (!sameFilter(media, store.get().filter)) {
            dispatch({ type: "filter", filter: media });
            void list(false, PAGE);
        }
        queues.refilter(jobs);
    }

    /** The address says which view it is, what is filtered there, and what is open over it. */
    function readAddress(): void {
        readAddressFilters();
        const [, kind, written = ""] = /^#\/(media|jobs)\/([0-9A-Za-z]{1,32})$/.exec(location.hash) ?? [];
        const named = written.toLowerCase().replace(/o/g, "0").replace(/[il]/g, "1"); // as the server reads ids
        const job = kind === "jobs" ? named : null;
        const view = /^#\/?queues$/.test(location.hash) || job ? "queues" : "library";
        if (view !== store.get().view) {
            dispatch({ type: "view", view });
            queues.refresh();
            scrollTo(0, 0);
        }
        queues.show(job);
        const id = kind === "media" ? named : null;
        if (id === store.get().detail) return;
        dispatch({ type: "detail", id });
        if (id && !store.get().items[id]) void loadDetail(id);
    }

    return {
        store,
        uploads,
        lang,
        t,
        problem,
        addFiles,
        pasteFiles(transfer) {
            const files = filesOfPaste(transfer, t("paste.name"), new Date());
            addFiles(files);
            return files.length > 0;
        },
        setFolder: (value) => (folder = value),
        filter(change) {
            const before = store.get().filter.search;
            const search = clipBytes(change.search ?? before, SEARCH_MAX);
            dispatch({ type: "filter", filter: { ...change, search } });
            writeAddress(before === "" || search === "" || before === search); // a search being typed is one step
            void list(false, PAGE);
        },
        more() {
            const { load, next } = store.get();
            if (next !== null && (load === "idle" || load === "error")) void list(true, PAGE);
        },
        reload,
        queues: queues.app,
        openDetail(id) {
            const hash = id ? `#/media/${id}` : "";
            if (id === null) history.pushState(null, "", location.pathname + location.search);
            else if (store.get().detail === null) location.hash = hash;
            else history.replaceState(null, "", hash); // paging through files is one step back
            readAddress();
        },
        async remove(media) {
            try {
                await api.remove(lang(), media.id);
            } catch (error) {
                const p = problemOf(error);
                if (p.status !== 404) return p; // 404: somebody was faster
            }
            dispatch({ type: "media/gone", id: media.id });
            say(t("say.deleted", { name: media.filename }));
            foldersSoon();
            return null;
        },
        async retry(id) {
            try {
                const media = await api.retry(lang(), id);
                if (media?.id) dispatch({ type: "media/upsert", media });
                return null;
            } catch (error) {
                return problemOf(error);
            }
        },
        say,
        start() {
            const network = () => {
                if (navigator.onLine) reached();
                else dispatch({ type: "online", online: false });
                live.nudge();
            };
            for (const type of ["dragover", "drop"] as const)
                addEventListener(type, (e) => {
                    if (store.get().view !== "queues" || !hasFiles(e.dataTransfer)) return;
                    e.preventDefault(); // else the browser would go to the file
                    e.dataTransfer!.dropEffect = "none";
                });
            let hiddenAt = 0; // opened in the background counts as asleep
            addEventListener("online", network);
            addEventListener("offline", network);
            addEventListener("hashchange", readAddress);
            addEventListener("popstate", readAddress);
            addEventListener("beforeunload", (e) => {
                if (store.get().uploads.some((u) => !finished(u))) e.preventDefault();
            });
            document.addEventListener("visibilitychange", () => {
                live.look(document.hidden);
                if (document.hidden) hiddenAt = Date.now();
                else if (Date.now() - hiddenAt > ASLEEP_MS) live.nudge();
            });
            dispatch({ type: "online", online: navigator.onLine });
            void loadConfig();
            void loadFolders();
            readAddress();
            if (store.get().load === "idle") void reload(); // else a filter in the address has begun it
            live.look(document.hidden);
            live.start();
        },
    };
}
