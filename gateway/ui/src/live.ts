// Live events: WebSocket, else SSE, else polling; reconnects with backoff and asks for what it missed by event id.
//
// Everything outside (sockets, timers, chance) comes in through LiveDeps, so the tests drive it with a fake clock.
import type { LiveEvent, LiveMessage, LogPage } from "./model";

export type LiveState = "connecting" | "live" | "reconnecting" | "polling";

export interface Socket {
    onopen: ((e: never) => void) | null;
    onclose: ((e: never) => void) | null;
    onmessage: ((e: { data: unknown }) => void) | null;
    send(text: string): void;
    close(): void;
}

export interface Stream {
    readonly readyState: number; // 2: given up
    onopen: ((e: never) => void) | null;
    onerror: ((e: never) => void) | null;
    addEventListener(type: string, fn: (e: { data: unknown }) => void): void;
    close(): void;
}

export interface LiveDeps {
    socket: (path: string) => Socket;
    stream: (path: string) => Stream;
    setTimer: (fn: () => void, ms: number) => unknown;
    clearTimer: (timer: unknown) => void;
    random: () => number;
    onEvent: (event: LiveEvent) => void;
    /** Positions and queues: not in the log. */
    onMessage: (message: LiveMessage) => void;
    /** The log no longer reaches back to where we were, or we begin: read the list again. */
    onResync: () => void;
    /** A page of the log by request; null: no answer. */
    readLog: (path: string) => Promise<LogPage | null>;
    /** One round of polling; false: no answer. */
    onPoll: () => Promise<boolean>;
    onState: (state: LiveState) => void;
}

const WS_TRIES = 2; // attempts that never opened before SSE is tried
const SSE_TRIES = 2; // and before polling
const POLL_MS = 5_000;
const POLL_ROUNDS = 6; // then the push ways are tried again
const OPEN_MS = 10_000; // an attempt that neither opens nor fails is over
const SILENCE_MS = 45_000; // the server sends a ping every 15 s; a socket that says nothing for three is dead
const STREAM_SILENCE_MS = 60_000; // the pings of a stream are not shown to scripts: the log tells whether a quiet one is dead
const FILTER = "types=media"; // the page has no use for job events
const STREAM_WATCH = 200; // jobs in the address of a stream
const STREAM_CHANGE_MS = 2_000; // a stream is opened anew for other wishes, at most so often
const BACKOFF_MIN = 500;
const BACKOFF_MAX = 30_000;
const EVENT_TYPES = [
    "message",
    "hello",
    "resync",
    "job.position",
    "queues",
    ...["created", "processing", "ready", "failed", "deleted"].map((t) => `media.${t}`),
];

/** Half to full of min·2^n, at most 30 s. */
export function backoffMs(attempt: number, random: number): number {
    return Math.min(BACKOFF_MAX, BACKOFF_MIN * 2 ** Math.min(attempt, 10)) * (0.5 + random / 2);
}

export class Live {
    private after: number | null = null;
    private close: (() => void) | null = null; // ends the current attempt or connection
    private timer: unknown = null;
    private attempt = 0; // failures since the last open
    private wsFailed = 0;
    private sseFailed = 0;
    private hidden = false; // nobody looks at the page
    private streaming = false; // on a stream, or would be if somebody looked
    private watch: readonly string[] = []; // wishes: jobs whose positions are pushed, and all queues
    private queues = false;
    private tell: ((watch: readonly string[], queues: boolean) => void) | null = null; // what an open connection does with new ones

    constructor(private readonly deps: LiveDeps) {}

    start(): void {
        this.deps.onState("connecting");
        this.connect();
    }

    /** Connects anew at once: the network came back, the page was asleep, or it has polled long enough. What was missed is asked for by id. */
    nudge(): void {
        this.drop();
        this.attempt = this.wsFailed = this.sseFailed = 0;
        this.connect();
    }

    /** A stream is one of the six connections a browser has for a server, all tabs together: who does not look gives it back. */
    look(hidden: boolean): void {
        this.hidden = hidden;
        if (!this.streaming) return;
        this.drop();
        this.connectStream();
    }

    /** What the server shall push besides the log; all wishes, not what changed. */
    want(watch: readonly string[], queues: boolean): void {
        this.tell?.(watch, queues);
        this.watch = watch;
        this.queues = queues;
    }

    private drop(): void {
        this.deps.clearTimer(this.timer);
        this.timer = this.tell = null;
        const close = this.close;
        this.close = null;
        this.streaming = false;
        close?.();
    }

    private later(fn: () => void, ms: number): void {
        this.deps.clearTimer(this.timer);
        this.timer = this.deps.setTimer(fn, ms);
    }

    private connect(): void {
        if (this.wsFailed < WS_TRIES) this.connectSocket();
        else if (this.sseFailed < SSE_TRIES) this.connectStream();
        else this.poll(POLL_ROUNDS);
    }

    private path(base: string): string {
        return this.after === null ? `${base}?${FILTER}` : `${base}?${FILTER}&after=${this.after}`;
    }

    private streamPath(): string {
        const watch = this.watch.length > 0 ? `&watch=${this.watch.slice(0, STREAM_WATCH).join(",")}` : "";
        return this.path("/api/events") + watch + (this.queues ? "&queues=1" : "");
    }

    private connectSocket(): void {
        let opened = false;
        const ended = () => {
            if (!opened) this.wsFailed++;
            this.failed();
        };
        let socket: Socket;
        try {
            socket = this.deps.socket(this.path("/api/ws"));
        } catch {
            ended(); // the constructor itself refuses, e.g. by policy
            return;
        }
        const detach = () => {
            socket.onopen = socket.onclose = socket.onmessage = null;
            socket.close();
        };
        this.close = detach;
        const giveUp = () => {
            detach();
            ended();
        };
        this.later(giveUp, OPEN_MS);
        socket.onopen = () => {
            opened = true;
            this.tell = (watch, queues) => {
                const said = wishes(this.watch, this.queues, watch, queues);
                if (said) socket.send(said);
            };
            const said = wishes([], false, this.watch, this.queues);
            if (said) socket.send(said);
            this.opened();
            this.later(giveUp, SILENCE_MS);
        };
        socket.onclose = ended;
        socket.onmessage = (e) => {
            this.later(giveUp, SILENCE_MS);
            this.receive(e.data);
        };
    }

    private connectStream(): void {
        this.streaming = true;
        if (this.hidden) return;
        let opened = false;
        const { watch, queues } = this; // what this stream is asked for
        const stream = this.deps.stream(this.streamPath());
        const detach = () => {
            stream.onopen = stream.onerror = null;
            stream.close();
        };
        this.close = detach;
        const give = () => {
            detach();
            if (!opened) this.sseFailed++;
            this.failed();
        };
        const anew = () => {
            this.tell = null;
            detach();
            this.connectStream();
        };
        const quiet = async () => {
            const { timer } = this;
            const page = await this.deps.readLog(this.path("/api/events"));
            if (this.close !== detach || !this.tell || this.timer !== timer) return; // it spoke meanwhile
            const after = this.after;
            if (page === null) {
                give();
                return;
            }
            const missed = after === null || page.resync || page.events.some((e) => e.id > after);
            if (!missed) this.after = Math.max(after, Number(page.last)); // else each look would read more
            if (missed || queues) anew(); // the state of queues is not in the log
            else this.later(quiet, STREAM_SILENCE_MS);
        };
        this.later(give, OPEN_MS);
        stream.onopen = () => {
            opened = true;
            this.opened();
            this.later(quiet, STREAM_SILENCE_MS);
            // A stream cannot be told anything: it is opened anew, and goes on behind the last event.
            this.tell = (newWatch, newQueues) => {
                if (!wishes(watch, queues, newWatch, newQueues)) return;
                this.tell = null;
                this.later(anew, STREAM_CHANGE_MS);
            };
            this.tell(this.watch, this.queues);
        };
        // The browser reconnects a stream by itself, but without our backoff.
        stream.onerror = give;
        for (const type of EVENT_TYPES)
            stream.addEventListener(type, (e) => {
                if (this.close !== detach) return;
                if (this.tell) this.later(quiet, STREAM_SILENCE_MS); // else it is to be opened anew soon
                this.receive(e.data);
            });
    }

    private opened(): void {
        this.deps.clearTimer(this.timer);
        this.timer = null;
        this.attempt = this.wsFailed = this.sseFailed = 0;
        this.deps.onState("live");
        if (this.after === null) this.deps.onResync();
    }

    private failed(): void {
        this.close = this.tell = null;
        this.streaming = false;
        this.deps.onState("reconnecting");
        this.later(() => this.connect(), backoffMs(this.attempt++, this.deps.random()));
    }

    /** Neither way opens: read the list every few seconds, and try the push ways again from time to time. */
    private poll(rounds: number, away = false): void {
        let stopped = false;
        this.close = () => (stopped = true);
        void this.deps.onPoll().then((answered) => {
            if (stopped) return;
            if (answered && away) {
                this.nudge(); // the server is back: no need to wait for the last round
                return;
            }
            this.deps.onState(answered ? "polling" : "reconnecting");
            this.later(() => {
                if (rounds > 1) this.poll(rounds - 1, !answered);
                else this.nudge();
            }, POLL_MS);
        });
    }

    /** One message: an event {id, type, …}, or a note {type: hello|resync|ping, last}. */
    private receive(data: unknown): void {
        let message: Partial<LiveEvent> & { last?: unknown };
        try {
            message = JSON.parse(String(data)) ?? {};
        } catch {
            return; // not ours
        }
        const last = typeof message.last === "number" ? message.last : null;
        if (message.type === "resync") this.resync(last);
        else if (message.type === "hello") this.after ??= last;
        else if (typeof message.id === "number" && message.type) this.take(message as LiveEvent);
        else if (message.type === "job.position" || message.type === "queues") this.deps.onMessage(message as LiveMessage);
    }

    private take(event: LiveEvent): void {
        if (this.after !== null && event.id <= this.after) return; // sent again after a reconnect
        this.after = event.id;
        this.deps.onEvent(event);
    }

    private resync(id: number | null): void {
        this.after = id;
        this.deps.onResync();
    }
}

/** The message that turns old wishes into new ones; null: nothing changed. */
export function wishes(oldWatch: readonly string[], oldQueues: boolean, watch: readonly string[], queues: boolean): string | null {
    const had = new Set(oldWatch);
    const has = new Set(watch);
    const said: { watch?: string[]; unwatch?: string[]; queues?: boolean } = {};
    const unwatch = oldWatch.filter((id) => !has.has(id));
    const more = watch.filter((id) => !had.has(id));
    if (unwatch.length > 0) said.unwatch = unwatch;
    if (more.length > 0) said.watch = more;
    if (queues !== oldQueues) said.queues = queues;
    return Object.keys(said).length > 0 ? JSON.stringify(said) : null;
}

/** The browser's own sockets and timers. */
export function browserDeps(): Pick<LiveDeps, "socket" | "stream" | "setTimer" | "clearTimer" | "random"> {
    return {
        socket: (path) => new WebSocket(location.origin.replace(/^http/, "ws") + path) as unknown as Socket,
        stream: (path) => new EventSource(path) as unknown as Stream,
        setTimer: (fn, ms) => setTimeout(fn, ms),
        clearTimer: (timer) => clearTimeout(timer as number),
        random: Math.random,
    };
}
