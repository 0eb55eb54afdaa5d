// The HTTP API: JSON in and out, problem+json turned into a Problem, uploads with progress.
import { hasKey, translate, type Lang, type Vars } from "./i18n";
import type { Config, Filter, FoldersPage, LogPage, Media, Page, Problem } from "./model";
import type { Job, JobFilter, Queue, SteerAction } from "./queues";

const TIMEOUT_MS = 20_000;
const STALL_MS = 120_000;

export class ApiError extends Error {
    constructor(readonly problem: Problem) {
        super(problem.code);
    }
}

export function localProblem(code: string): Problem {
    return { status: 0, code, text: "", detail: "", retryAfter: null };
}

/** Seconds to wait: a number, or an HTTP date seen from `now`. */
export function parseRetryAfter(header: string | null, now: number): number | null {
    if (!header) return null;
    if (/^\d+$/.test(header.trim())) return Number(header);
    const at = Date.parse(header);
    return Number.isNaN(at) ? null : Math.max(0, Math.ceil((at - now) / 1000));
}

/** Reads what an error answer holds; anything that is not problem+json still gives a usable Problem. */
export function parseProblem(status: number, body: string, retryAfter: string | null, now: number): Problem {
    const problem: Problem = { status, code: "", text: "", detail: "", retryAfter: parseRetryAfter(retryAfter, now) };
    try {
        const json: unknown = JSON.parse(body);
        if (json && typeof json === "object") {
            const text = (name: string) => {
                const value = (json as Record<string, unknown>)[name];
                return typeof value === "string" ? value : "";
            };
            problem.code = text("code").toLowerCase().replace(/[^a-z0-9]+/g, "_");
            problem.detail = text("detail");
            problem.text = problem.detail || text("title"); // detail is in the page's language, title is not
        }
    } catch {
        problem.text = ""; // an HTML page of a proxy, or nothing: the status has to do
    }
    problem.code ||= `http_${status === 504 ? 502 : status}`; // both: it is not there, or not yet
    return problem;
}

/** The sentence for a problem: the page's own where it knows the code, else the server's. */
export function problemText(lang: Lang, problem: Problem, vars: Vars = {}): string {
    const key = `err.${problem.code}`;
    if (hasKey(key)) {
        const sentence = translate(lang, key, vars);
        if (!sentence.includes("{")) return sentence; // a value was missing: the server's words are better
    }
    return problem.text || translate(lang, "err.unknown", { status: String(problem.status || "–") });
}

async function call<T>(lang: Lang, method: string, path: string, signal?: AbortSignal): Promise<T> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
    const forward = () => abort.abort();
    signal?.addEventListener("abort", forward);
    try {
        const answer = await fetch(path, {
            method,
            headers: { accept: "application/json", "accept-language": lang },
            signal: abort.signal,
        });
        const body = await answer.text();
        if (!answer.ok) throw new ApiError(parseProblem(answer.status, body, answer.headers.get("retry-after"), Date.now()));
        return (body ? JSON.parse(body) : null) as T;
    } catch (error) {
        if (error instanceof ApiError) throw error;
        throw new ApiError(localProblem("network"));
    } finally {
        clearTimeout(timer);
        signal?.removeEventListener("abort", forward);
    }
}

function idPath(id: string): string {
    return `/api/media/${encodeURIComponent(id)}`;
}

function jobPath(id: string): string {
    return `/api/jobs/${encodeURIComponent(id)}`;
}

export const api = {
    queues: (lang: Lang) => call<{ queues: Queue[] }>(lang, "GET", "/api/admin/queues"),
    steer: (lang: Lang, service: string, action: SteerAction) => call<unknown>(lang, "POST", `/api/admin/queues/${encodeURIComponent(service)}/${action}`),
    job: (lang: Lang, id: string) => call<Job>(lang, "GET", jobPath(id)),
    cancelJob: (lang: Lang, id: string) => call<unknown>(lang, "POST", `${jobPath(id)}/cancel`),
    retryJob: (lang: Lang, id: string) => call<{ jobId: string }>(lang, "POST", `${jobPath(id)}/retry`),
    jobs(lang: Lang, filter: JobFilter, before: string | null, limit: number): Promise<{ jobs: Job[]; next: string | null }> {
        const query = new URLSearchParams({ limit: String(limit) });
        for (const [name, value] of Object.entries({ ...filter, before })) if (value) query.set(name, value);
        return call(lang, "GET", `/api/jobs?${query}`);
    },
    log: (lang: Lang, path: string) => call<LogPage>(lang, "GET", path),
    config: (lang: Lang) => call<Config>(lang, "GET", "/api/config"),
    folders: (lang: Lang) => call<FoldersPage>(lang, "GET", "/api/folders"),
    media: (lang: Lang, id: string) => call<Media>(lang, "GET", idPath(id)),
    remove: (lang: Lang, id: string) => call<unknown>(lang, "DELETE", idPath(id)),
    retry: (lang: Lang, id: string) => call<Media | null>(lang, "POST", `${idPath(id)}/retry`),
    list(lang: Lang, filter: Filter, cursor: string | null, limit: number, signal?: AbortSignal): Promise<Page> {
        const query = new URLSearchParams({ limit: String(limit) });
        if (filter.folder) query.set("folder", filter.folder);
        if (filter.status) query.set("status", filter.status);
        if (filter.search) query.set("search", filter.search);
        if (cursor) query.set("cursor", cursor);
        return call<Page>(lang, "GET", `/api/media?${query}`, signal);
    },
};

export interface UploadAnswer extends Media {
    deduplicated: boolean;
}

export interface SendEvents {
    progress(sent: number): void;
    done(answer: UploadAnswer): void;
    fail(problem: Problem): void;
}

export interface SendOptions {
    lang: Lang;
    folder: string;
    /** Types the server knows; others are not declared (browsers have their own names for some, and libmagic decides anyway). */
    declare: readonly string[];
}

/** Sends one file as a raw body; returns a function that aborts it, after which no event comes. */
export function sendFile(file: File, options: SendOptions, on: SendEvents): () => void {
    const xhr = new XMLHttpRequest();
    const query = new URLSearchParams({ filename: file.name });
    if (options.folder) query.set("folder", options.folder);
    let over = false;
    let stall: ReturnType<typeof setTimeout>;
    const finish = (what: () => void) => {
        if (over) return;
        over = true;
        clearTimeout(stall);
        what();
    };
    const alive = () => {
        clearTimeout(stall);
        stall = setTimeout(() => {
            finish(() => on.fail(localProblem("stalled")));
            xhr.abort();
        }, STALL_MS);
    };
    xhr.upload.onprogress = (e) => {
        alive();
        if (!over) on.progress(e.loaded);
    };
    xhr.onload = () => finish(() => answered(xhr, on));
    xhr.onerror = async () => {
        const code = await file.slice(0, 1).arrayBuffer().then(() => "network", () => "file_gone"); // browsers do not tell which
        finish(() => on.fail(localProblem(code)));
    };
    xhr.open("POST", `/api/media?${query}`);
    xhr.setRequestHeader("accept", "application/json");
    xhr.setRequestHeader("accept-language", options.lang);
    xhr.setRequestHeader("content-type", options.declare.includes(file.type) ? file.type : "application/octet-stream");
    alive();
    xhr.send(file);
    return () => {
        finish(() => undefined);
        xhr.abort();
    };
}

function answered(xhr: XMLHttpRequest, on: SendEvents): void {
    if (xhr.status >= 200 && xhr.status < 300) {
        try {
            on.done(JSON.parse(xhr.responseText) as UploadAnswer);
            return;
        } catch {
            // falls through: a 2xx without JSON is no answer of ours
        }
    }
    on.fail(parseProblem(xhr.status, xhr.responseText, xhr.getResponseHeader("retry-after"), Date.now()));
}
