import type { Kind } from "../model";

// 20 × 20, one stroke.
const paths = {
    upload: "M10 13V4M6.5 7.5 10 4l3.5 3.5M3.5 13v2A1.5 1.5 0 0 0 5 16.5h10a1.5 1.5 0 0 0 1.5-1.5v-2",
    search: "M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11ZM13 13l3.5 3.5",
    close: "m5.5 5.5 9 9M14.5 5.5l-9 9",
    copy: "M7.5 7.5V5A1.5 1.5 0 0 1 9 3.5h6A1.5 1.5 0 0 1 16.5 5v6a1.5 1.5 0 0 1-1.5 1.5h-2.5M5 7.5h6A1.5 1.5 0 0 1 12.5 9v6a1.5 1.5 0 0 1-1.5 1.5H5A1.5 1.5 0 0 1 3.5 15V9A1.5 1.5 0 0 1 5 7.5Z",
    check: "m4.5 10.5 3.5 3.5 7.5-8",
    trash: "M4 5.5h12M8 5.5V4.2c0-.4.3-.7.7-.7h2.6c.4 0 .7.3.7.7v1.3M5.5 5.5l.6 9.6c.1.8.7 1.4 1.5 1.4h4.8c.8 0 1.4-.6 1.5-1.4l.6-9.6M8.5 9v4.5M11.5 9v4.5",
    retry: "M15.5 10a5.5 5.5 0 1 1-1.7-4M15.5 3.5V6.5h-3",
    left: "m12 4.5-5.5 5.5 5.5 5.5",
    right: "m8 4.5 5.5 5.5L8 15.5",
    down: "m5 8 5 5 5-5",
    sun: "M10 13a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM10 2.5v1.5M10 16v1.5M2.5 10H4M16 10h1.5M4.7 4.7l1.1 1.1M14.2 14.2l1.1 1.1M4.7 15.3l1.1-1.1M14.2 5.8l1.1-1.1",
    moon: "M16.5 11.8A7 7 0 0 1 8.2 3.5a7 7 0 1 0 8.3 8.3Z",
    open: "M11.5 3.5h5v5M16.5 3.5 9 11M14 11.5V15a1.5 1.5 0 0 1-1.5 1.5H5A1.5 1.5 0 0 1 3.5 15V7.5A1.5 1.5 0 0 1 5 6h3.5",
    alert: "M10 6.5v4.5M10 13.8v.1M10 17.5a7.5 7.5 0 1 0 0-15 7.5 7.5 0 0 0 0 15Z",
    folder: "M3.5 6A1.5 1.5 0 0 1 5 4.5h3l2 2h5A1.5 1.5 0 0 1 16.5 8v6a1.5 1.5 0 0 1-1.5 1.5H5A1.5 1.5 0 0 1 3.5 14V6Z",
    cloudOff: "M3 3l14 14M6.3 6.8A4 4 0 0 0 5.5 15h9M16.3 14.2A3 3 0 0 0 15 8.5h-.6A5 5 0 0 0 8.5 5.2",
    pause: "M7 5v10M13 5v10",
    play: "M6.5 4.5 15 10l-8.5 5.5z",
    drain: "M3.5 4.5h13L12 10.5V16l-4 1.5v-7z",
    lock: "M6.5 9V6.5a3.5 3.5 0 0 1 7 0V9M5.5 9h9v7.5h-9z",
    queue: "M3.5 5.5h13M3.5 10h13M3.5 14.5h8",
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }) {
    return (
        <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
            <path d={paths[name]} />
        </svg>
    );
}

/** The mark: a camel in one line, under the star the caravans left by. */
export function Mark() {
    return (
        <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
            <rect width="32" height="32" rx="8" class="mark-field" />
            <path
                class="mark-line"
                d="M6 25.5v-6c0-1.3.4-2.3 1-3.2C8 14.5 8.6 12 10.3 12s2.3 3.5 3.7 3.5S16 12 17.7 12c1.9 0 2.2 4 3.5 5.5 1.6 1.8 3.3.2 3.3-2.5v-3.5c0-1.5.9-2.5 2.5-2.3M20.6 25.5V18"
            />
            <circle class="mark-star" cx="7" cy="7.5" r="1.9" />
        </svg>
    );
}

/** "kervan", drawn: the arcs of e, r, a and n are the humps of the mark. */
export function Wordmark() {
    return (
        <svg class="wordmark" viewBox="0 0 80 24" aria-hidden="true">
            <path d="M2.5 2v18M2.5 14.5 9 8.2M5.3 12l4.7 8M12.5 14h12a6 6 0 1 0-1.7 4.2M30 20V8.2M30 14.5c0-3.6 2-6.1 5.5-6.1M39 8.2 43.8 20l4.8-11.8M63.5 8.2V20M63.5 14.1a6 6 0 1 1-12 0 6 6 0 0 1 12 0M68.5 20V8.2M68.5 13.7c0-3 1.9-5.5 4.7-5.5s4.6 2 4.6 5.3V20" />
        </svg>
    );
}

const kinds: Record<Kind, string> = {
    image: "m13 33 6-7 5 5 4-4.5 7 6.5M20 20.5a1.5 1.5 0 1 1-3 0 1.5 1.5 0 0 1 3 0Z",
    video: "M20 20v11l9-5.5z",
    audio: "M20 31V19.5l8-2V29M20 31a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0ZM28 29a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0Z",
    pdf: "M16 20h16M16 25h16M16 30h9",
    archive: "M24 14v3M24 19v3M24 24v3M21.5 29.5h5v4h-5z",
    text: "M16 20h16M16 25h16M16 30h16",
    file: "M16 25h16",
};

/** The picture of a file that has none: a sheet with its kind and its extension. */
export function FileGlyph({ kind, ext }: { kind: Kind; ext: string }) {
    return (
        <span class={`glyph glyph-${kind}`} aria-hidden="true">
            <svg viewBox="0 0 48 48">
                <path class="glyph-sheet" d="M11 7.5A2.5 2.5 0 0 1 13.5 5H29l8 8v27.5a2.5 2.5 0 0 1-2.5 2.5h-21a2.5 2.5 0 0 1-2.5-2.5z" />
                <path class="glyph-fold" d="M29 5v5.5a2.5 2.5 0 0 0 2.5 2.5H37" />
                <path class="glyph-kind" d={kinds[kind]} />
            </svg>
            {ext && <b>{ext.toUpperCase()}</b>}
        </span>
    );
}
