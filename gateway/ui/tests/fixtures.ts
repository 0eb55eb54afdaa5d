import type { Media } from "../src/model";

/** A row; ids sort like time. */
export function media(n: number, over: Partial<Media> = {}): Media {
    const id = String(n).padStart(13, "0");
    return {
        id,
        url: `/api/static/genel/${id}.jpg`,
        hash: "a".repeat(64),
        stored_hash: "b".repeat(64),
        size: 1000,
        mime: "image/jpeg",
        folder: "genel",
        filename: `foto-${n}.jpg`,
        status: "READY",
        width: 1200,
        height: 800,
        thumbhash: null,
        metadata_kept: false,
        variants: [],
        error: null,
        error_detail: null,
        processingStartedAt: null,
        processingCompletedAt: null,
        created_at: "2026-01-01T00:00:00.000Z",
        updated_at: "2026-01-01T00:00:00.000Z",
        ...over,
    };
}

/** Timers that run when told, in order of their time. */
export class FakeClock {
    now = 0;
    private next = 1;
    private readonly timers = new Map<number, { at: number; fn: () => void }>();

    readonly setTimer = (fn: () => void, ms: number): unknown => {
        this.timers.set(this.next, { at: this.now + ms, fn });
        return this.next++;
    };

    readonly clearTimer = (timer: unknown): void => {
        this.timers.delete(timer as number);
    };

    get waiting(): number {
        return this.timers.size;
    }

    advance(ms: number): void {
        const until = this.now + ms;
        for (;;) {
            const due = [...this.timers].filter(([, t]) => t.at <= until).sort((a, b) => a[1].at - b[1].at)[0];
            if (!due) break;
            this.now = due[1].at;
            this.timers.delete(due[0]);
            due[1].fn();
        }
        this.now = until;
    }
}
