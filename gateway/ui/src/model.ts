// What the API speaks, and the small pure rules about it.

export type Status = "PENDING" | "READY" | "FAILED";

export interface Variant {
    url: string;
    format: string;
    width: number;
    height: number;
    size: number;
}

/** One media row as GET /api/media makes it. Times are RFC 3339 text. */
export interface Media {
    id: string;
    url: string;
    hash: string;
    stored_hash: string;
    size: number;
    mime: string;
    folder: string;
    filename: string;
    status: Status;
    /** While PENDING: the job whose position can be watched. */
    jobId?: string | null;
    width: number | null;
    height: number | null;
    thumbhash: string | null;
    metadata_kept: boolean;
    variants: Variant[];
    error: string | null;
    error_detail: string | null;
    processingStartedAt: string | null;
    processingCompletedAt: string | null;
    created_at: string;
    updated_at: string;
}

export interface Page {
    items: Media[];
    next: string | null;
}

export interface Folder {
    folder: string;
    count: number;
}

export interface FoldersPage {
    folders: Folder[];
    next: string | null;
}

/** GET /api/config: what the page checks before it sends (the server decides). */
export interface Config {
    max_upload_bytes: number;
    allowed_mime_types: string[];
    allowed_extensions: string[];
    processing_enabled: boolean;
    version: string;
}

/** One row of the live event log. */
export interface LiveEvent {
    id: number;
    type: string;
    mediaId?: string;
    media?: Media;
}

/** The same log as JSON. */
export interface LogPage {
    events: LiveEvent[];
    last: string;
    resync: boolean;
}

/** What the server pushes besides the log: positions, the state of queues. */
export interface LiveMessage {
    type: string;
    jobId?: string;
    queues?: unknown;
}

export interface Filter {
    folder: string;
    status: "" | Status;
    search: string;
}

/** An error as the page shows it. status 0: no answer came. */
export interface Problem {
    status: number;
    code: string;
    text: string;
    detail: string;
    /** Seconds of Retry-After, null when absent. */
    retryAfter: number | null;
}

/** What a record holds under a name from outside: "constructor" is one, too. */
export function own<T>(record: Readonly<Record<string, T>>, name: string): T | undefined {
    return Object.hasOwn(record, name) ? record[name] : undefined;
}

export const DEFAULT_FOLDER = "genel";
const FOLDER_PART = /^[a-z0-9_][a-z0-9_-]{0,63}$/;

/** Names Windows gives to devices. */
const DEVICE = /^(con|prn|aux|nul|com[1-9]|lpt[1-9])$/;

/** The server's rule for folders: 1 to 4 names of [a-z0-9_-]. Empty means the default folder. */
export const SEARCH_MAX = 100; // bytes; the server's limit

export function folderValid(folder: string): boolean {
    if (folder === "") return true;
    const parts = folder.split("/");
    return folder.length <= 255 && parts.length <= 4 && parts[0] !== "static" && parts.every((p) => FOLDER_PART.test(p) && !DEVICE.test(p));
}

export function matches(media: Media, filter: Filter): boolean {
    return stays(media, filter) && (!filter.search || folded(media.filename).includes(folded(filter.search)));
}

/** Whether a row the server has listed still fits: names do not change, and the server knows best what is found. */
export function stays(media: Media, filter: Filter): boolean {
    if (filter.folder && media.folder !== filter.folder && !media.folder.startsWith(filter.folder + "/")) return false;
    return !filter.status || media.status === filter.status;
}

/** As the server compares names: without case, accents and what is not seen; i, ı, I and İ are one letter, σ and ς, too. */
function folded(s: string): string {
    const bare = s.normalize("NFKD").replace(/[\p{M}\p{DI}]/gu, ""); // DI: default ignorable
    return bare.toUpperCase().toLowerCase().replace(/ς/g, "σ");
}

// The server folds ASCII only; "İ".toLowerCase() would find more here than there.
function asciiLower(s: string): string {
    return s.replace(/[A-Z]/g, (c) => c.toLowerCase());
}

/** As many whole characters as fit into `max` bytes of UTF-8. */
export function clipBytes(text: string, max: number): string {
    const encoder = new TextEncoder();
    let clipped = "";
    let size = 0;
    for (const character of text) {
        size += encoder.encode(character).length;
        if (size > max) break;
        clipped += character;
    }
    return clipped;
}

/** Why a file will probably be refused: the code of the error the server would give, or null. */
export function precheck(file: { name: string; size: number; type: string }, config: Config | null): string | null {
    if (file.size === 0) return "empty_file";
    if (!config) return null;
    if (config.max_upload_bytes > 0 && file.size > config.max_upload_bytes) return "too_large";
    if (config.allowed_extensions.length === 0) return null;
    return config.allowed_extensions.includes(extension(file.name)) ? null : "type_refused";
}

/** "jpg" of "a.JPG"; empty if there is none. */
export function extension(name: string): string {
    const dot = name.lastIndexOf(".");
    return dot > 0 ? asciiLower(name.slice(dot + 1)) : "";
}

export type Kind = "image" | "video" | "audio" | "pdf" | "archive" | "text" | "file";

export function kindOf(mime: string): Kind {
    const top = mime.split("/")[0];
    if (top === "image" || top === "video" || top === "audio" || top === "text") return top;
    if (mime === "application/pdf") return "pdf";
    return mime === "application/zip" ? "archive" : "file";
}

/** Whether browsers show the original themselves (HEIC they do not). */
export function originalShows(mime: string): boolean {
    return kindOf(mime) === "image" && !/^image\/(heic|heif|tiff)/.test(mime);
}

/** Percent saved against the original; negative when larger; 100 would say that nothing is left. */
export function savedPercent(original: number, size: number): number {
    return original > 0 ? Math.min(99, Math.round((1 - size / original) * 100)) : 0;
}

export interface Source {
    type: string;
    srcset: string;
}

/** <source> rows for a slot of `need` device pixels: AVIF before WebP. A format whose largest picture is too small for
 *  the slot while another has a larger one is left out: the browser takes the first type it knows, sharp or not. */
export function sourcesFor(variants: Variant[], need: number): Source[] {
    const byFormat = (format: string) => variants.filter((v) => v.format === format).sort((a, b) => a.width - b.width);
    const widest = variants.reduce((w, v) => Math.max(w, v.width), 0);
    const sources: Source[] = [];
    for (const format of ["avif", "webp"]) {
        const list = byFormat(format);
        const largest = list.at(-1);
        if (!largest || largest.width < Math.min(need, widest)) continue;
        sources.push({ type: `image/${format}`, srcset: list.map((v) => `${v.url} ${v.width}w`).join(", ") });
    }
    return sources;
}
