// The upload queue: three at a time, the rest waits; progress and speed; tries again what may pass.
import { localProblem, type SendEvents, type SendOptions, type UploadAnswer } from "./api";
import { precheck, type Problem } from "./model";
import { finished, isLost, type Phase, type Store, type Upload } from "./state";

const PARALLEL = 3;
const AUTO_TRIES = 6;
const DEFAULT_RETRY_S = 3; // no Retry-After
const PREVIEW_MAX = 25 << 20; // larger pictures are not decoded for a thumbnail

export interface UploadDeps {
    store: Store;
    send: (file: File, options: SendOptions, on: SendEvents) => () => void;
    options: (upload: Upload) => SendOptions;
    now: () => number;
    setTimer: (fn: () => void, ms: number) => unknown;
    clearTimer: (timer: unknown) => void;
    preview: (file: File) => string | null;
    dropPreview: (url: string) => void;
    stored: (upload: Upload, answer: UploadAnswer) => void;
    failed: (upload: Upload, problem: Problem) => void;
    /** From now on all wait for the server. */
    lost: () => void;
}

/** Above the rate, or without a server, nothing else would be taken either. */
const holds = (u: Upload): boolean => isLost(u) || (u.phase === "backoff" && u.problem?.status === 429);

/** What an upload has besides its row in the store. */
interface Job {
    file: File;
    abort: (() => void) | null;
    timer: unknown;
    tries: number;
    seenAt: number;
    seenBytes: number;
}

export class Uploads {
    private readonly jobs = new Map<number, Job>();
    private nextKey = 1;

    constructor(private readonly deps: UploadDeps) {}

    add(files: readonly File[], folder: string): void {
        const { config } = this.deps.store.get();
        const uploads = files.map((file): Upload => {
            const code = precheck(file, config);
            const key = this.nextKey++;
            this.jobs.set(key, { file, abort: null, timer: null, tries: 0, seenAt: 0, seenBytes: 0 });
            return {
                key,
                name: file.name,
                type: file.type,
                size: file.size,
                folder,
                phase: code ? "failed" : "queued",
                sent: 0,
                speed: 0,
                problem: code ? localProblem(code) : null,
                local: code !== null,
                retryAt: 0,
                mediaId: null,
                deduplicated: false,
                preview: file.size <= PREVIEW_MAX ? this.deps.preview(file) : null,
            };
        });
        this.deps.store.dispatch({ type: "upload/add", uploads });
        for (const u of uploads) if (u.problem) this.deps.failed(u, u.problem);
        this.pump();
    }

    cancel(key: number): void {
        const upload = this.find(key);
        if (!upload || finished(upload)) return;
        this.release(key);
        this.set(key, { phase: "cancelled", speed: 0 });
        this.pump();
    }

    cancelAll(): void {
        for (const u of this.deps.store.get().uploads) if (u.phase === "queued") this.cancel(u.key);
        for (const u of this.deps.store.get().uploads) this.cancel(u.key);
    }

    /** By hand: also sends what the page itself had refused. */
    retry(key: number): void {
        const job = this.jobs.get(key);
        const upload = this.find(key);
        if (!job || !upload || upload.phase === "done") return;
        this.release(key);
        job.tries = 0;
        this.set(key, { phase: "queued", sent: 0, speed: 0, problem: null, local: false });
        this.pump();
    }

    clear(): void {
        for (const u of this.deps.store.get().uploads) {
            if (!finished(u)) continue;
            if (u.preview) this.deps.dropPreview(u.preview);
            this.jobs.delete(u.key);
        }
        this.deps.store.dispatch({ type: "upload/clear" });
    }

    /** The connection is back: whatever waited for it goes on. */
    resume(): void {
        for (const u of this.deps.store.get().uploads) if (isLost(u)) this.requeue(u.key);
        this.pump();
    }

    private find(key: number): Upload | undefined {
        return this.deps.store.get().uploads.find((u) => u.key === key);
    }

    private set(key: number, patch: Partial<Upload>): void {
        this.deps.store.dispatch({ type: "upload/set", key, patch });
    }

    private release(key: number): void {
        const job = this.jobs.get(key);
        if (!job) return;
        job.abort?.();
        job.abort = null;
        this.deps.clearTimer(job.timer);
        job.timer = null;
    }

    private pump(): void {
        const { uploads, online } = this.deps.store.get();
        if (!online || uploads.some(holds)) return;
        const busy: Phase[] = ["sending", "saving"];
        let free = PARALLEL - uploads.filter((u) => busy.includes(u.phase)).length;
        for (const u of uploads) {
            if (free <= 0) return;
            if (u.phase !== "queued") continue;
            free--;
            this.begin(u);
        }
    }

    private begin(upload: Upload): void {
        const { key, size } = upload;
        const job = this.jobs.get(key)!;
        job.tries++;
        job.seenAt = this.deps.now();
        job.seenBytes = 0;
        this.set(key, { phase: "sending", sent: 0, speed: 0 });
        job.abort = this.deps.send(job.file, this.deps.options(upload), {
            progress: (sent) => this.progress(key, size, sent),
            done: (answer) => this.done(key, answer),
            fail: (problem) => this.fail(key, problem),
        });
    }

    private progress(key: number, size: number, sent: number): void {
        const job = this.jobs.get(key)!;
        const now = this.deps.now();
        const ms = now - job.seenAt;
        const all = sent >= size;
        if (ms < 120 && !all) return; // eight steps a second are enough to look at
        const known = this.find(key)?.speed ?? 0;
        const current = ms > 0 ? ((sent - job.seenBytes) * 1000) / ms : known;
        job.seenAt = now;
        job.seenBytes = sent;
        this.set(key, { sent: Math.min(sent, size), speed: known ? known * 0.75 + current * 0.25 : current, phase: all ? "saving" : "sending" });
    }

    private done(key: number, answer: UploadAnswer): void {
        this.jobs.delete(key); // and the file with it
        const { size } = this.find(key)!;
        this.set(key, { phase: "done", sent: size, speed: 0, problem: null, mediaId: answer.id, deduplicated: answer.deduplicated === true });
        this.deps.stored(this.find(key)!, answer);
        this.pump();
    }

    private fail(key: number, problem: Problem): void {
        const job = this.jobs.get(key)!;
        job.abort = null;
        const { online, live, uploads } = this.deps.store.get();
        // A proxy says 502 or 504 while the server restarts.
        const passes = ["network", "stalled"].includes(problem.code) || [429, 502, 503, 504].includes(problem.status);
        const isThere = online && (live === "live" || live === "polling");
        if (passes && !isThere && problem.status !== 429) {
            job.tries = 0; // it may only be restarting; bytes that had arrived are known by their hash
            if (!uploads.some(isLost)) this.deps.lost();
            this.set(key, { phase: "backoff", sent: 0, speed: 0, problem, retryAt: 0 });
        } else if (passes && (job.tries < AUTO_TRIES || problem.status === 429)) {
            const ms = Math.max(1, problem.retryAfter ?? DEFAULT_RETRY_S * job.tries) * 1000;
            this.set(key, { phase: "backoff", sent: 0, speed: 0, problem, retryAt: this.deps.now() + ms });
            job.timer = this.deps.setTimer(() => {
                this.requeue(key);
                this.pump();
            }, ms);
        } else {
            this.set(key, { phase: "failed", speed: 0, problem });
            this.deps.failed(this.find(key)!, problem);
        }
        this.pump();
    }

    private requeue(key: number): void {
        this.release(key);
        this.set(key, { phase: "queued", problem: null, retryAt: 0 });
    }
}
