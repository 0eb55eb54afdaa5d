import type { Media } from "../src/model";
import { readQueues, type Job, type Queue } from "../src/queues";

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

export function queue(service: string, over: Partial<Queue> = {}): Queue {
    return readQueues([{ service, health: "ok", ...over }])[0]!;
}

export function job(n: number, over: Partial<Job> = {}): Job {
    return {
        jobId: String(n).padStart(13, "0"),
        service: "ai",
        lane: "normal",
        status: "queued",
        progress: 0,
        attempts: 0,
        max_attempts: 3,
        metadata: null,
        error: null,
        error_detail: null,
        tenant: null,
        user: null,
        tags: [],
        not_before: null,
        deadline: null,
        retry_of: null,
        retried_by: null,
        created_at: "2026-01-01T00:00:00.000Z",
        updated_at: "2026-01-01T00:00:00.000Z",
        queue_position: null,
        lane_position: null,
        eta_seconds: null,
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
