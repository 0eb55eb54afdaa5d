// Queues and jobs: what the API speaks, and a pure reducer over the part of the state that shows them.
import { own, type Problem } from "./model";

export type Lane = "urgent" | "normal" | "background";
export type JobStatus = "queued" | "processing" | "complete" | "error" | "cancelled";
export const lanes: readonly Lane[] = ["urgent", "normal", "background"];
export const jobStatuses: readonly JobStatus[] = ["queued", "processing", "complete", "error", "cancelled"];
export const unfinished = (status: string | null): boolean => status === "queued" || status === "processing";

/** Milliseconds, of the last minutes. */
export interface Spread {
    p50: number;
    p90: number;
    p99: number;
}

/** One of GET /api/admin/queues. A queue of which only dead letters are left has nothing but those. */
export interface Queue {
    service: string;
    /** kervan makes its jobs itself: it is never drained. null: not said. */
    own: boolean | null;
    paused: boolean;
    draining: boolean;
    lanes: Record<Lane, number>;
    waiting: number;
    delayed: number;
    running: number;
    workers: number;
    throughput: { s10: number; min1: number; min5: number };
    wait_ms: Spread | null;
    service_ms: Spread | null;
    error_rate: number;
    oldest_waiting_s: number | null;
    counts: { complete: number; error: number; cancelled: number };
    health: string;
    remedy: string;
    remedy_tr: string;
    dead_letters: number | null;
}

export interface Step {
    status: JobStatus;
    at: string;
    attempt: number;
    worker?: string;
    reason?: string;
    /** Of an attempt that failed. */
    error?: string;
    error_detail?: string;
    /** So many steps stood here, in the middle of a long history. */
    left_out?: number;
}

export interface Position {
    jobId: string;
    status: JobStatus | null;
    queue_position: number | null;
    lane_position: number | null;
    eta_seconds: [number, number] | null;
}

export interface Job extends Position {
    service: string;
    lane: Lane;
    status: JobStatus;
    progress: number;
    attempts: number;
    max_attempts: number;
    params?: unknown;
    metadata: unknown;
    result?: unknown;
    error: string | null;
    error_detail: string | null;
    tenant: string | null;
    user: string | null;
    tags: string[];
    not_before: string | null;
    deadline: string | null;
    retry_of: string | null;
    retried_by: string | null;
    created_at: string;
    updated_at: string;
    history?: Step[];
}

export interface JobFilter {
    service: string;
    status: "" | "unfinished" | JobStatus;
    lane: "" | Lane;
}

export type SteerAction = "pause" | "resume" | "drain";

export type Asking = { service: string; action: SteerAction } | { cancel: string };

export interface QueuesState {
    /** null: none came yet. */
    list: readonly Queue[] | null;
    /** When the newest state came (epoch ms). */
    at: number;
    problem: Problem | null;
    /** Jobs ended a second, a sample each second, oldest first. */
    trend: Readonly<Record<string, readonly number[]>>;
    filter: JobFilter;
    jobs: readonly Job[];
    next: string | null;
    loaded: boolean;
    loading: boolean;
    jobsProblem: Problem | null;
    generation: number;
    /** Newest positions of jobs the page watches, the gallery's among them. */
    positions: Readonly<Record<string, Position>>;
    /** The open job. */
    open: string | null;
    job: Job | null;
    jobProblem: Problem | null;
    /** What waits for a yes. */
    asking: Asking | null;
}

export type QueuesAction =
    | { type: "q/state"; list: Queue[]; at: number }
    | { type: "q/fail"; problem: Problem }
    | { type: "q/filter"; filter: Partial<JobFilter> }
    | { type: "q/jobs/start" }
    | { type: "q/jobs"; generation: number; more: boolean; jobs: Job[]; next: string | null }
    | { type: "q/jobs/fail"; generation: number; problem: Problem }
    | { type: "q/position"; position: Position }
    | { type: "q/open"; id: string | null }
    | { type: "q/job"; job: Job }
    | { type: "q/job/fail"; id: string; problem: Problem }
    | { type: "q/ask"; asking: Asking | null };

export const TREND = 90; // samples
const POSITIONS = 2000; // kept at most: more than are ever watched

export const initialQueues: QueuesState = {
    list: null,
    at: 0,
    problem: null,
    trend: {},
    filter: { service: "", status: "", lane: "" },
    jobs: [],
    next: null,
    loaded: false,
    loading: false,
    jobsProblem: null,
    generation: 0,
    positions: {},
    open: null,
    job: null,
    jobProblem: null,
    asking: null,
};

const nothing: Omit<Queue, "service"> = {
    own: null,
    paused: false,
    draining: false,
    lanes: { urgent: 0, normal: 0, background: 0 },
    waiting: 0,
    delayed: 0,
    running: 0,
    workers: 0,
    throughput: { s10: 0, min1: 0, min5: 0 },
    wait_ms: null,
    service_ms: null,
    error_rate: 0,
    oldest_waiting_s: null,
    counts: { complete: 0, error: 0, cancelled: 0 },
    health: "idle",
    remedy: "",
    remedy_tr: "",
    dead_letters: null,
};

const trouble = ["stuck", "no_workers", "workers_busy", "at_limit", "no_room", "paused", "draining"];

/** Those in trouble first, the worst before the others, then by name; with what a resting queue leaves out. */
export function readQueues(raw: readonly (Partial<Queue> & { service: string })[]): Queue[] {
    const rank = (q: Queue) => (trouble.includes(q.health) ? trouble.indexOf(q.health) : trouble.length);
    const queues = raw.map((q): Queue => ({ ...nothing, ...q }));
    for (const q of queues) if (q.health === "ok" && !q.waiting && !q.running) q.health = "idle";
    return queues.sort((a, b) => rank(a) - rank(b) || (a.service < b.service ? -1 : 1));
}

/** Nothing to look at now. One that has just worked is not: cards that come and go with each job would flicker. */
export const resting = (q: Queue): boolean => q.health === "idle" && q.delayed === 0 && q.throughput.min1 === 0;

/** Changes when a list of this queue's jobs may look different. */
export function signature(list: readonly Queue[] | null, service: string): string {
    const of = (list ?? []).filter((q) => !service || q.service === service);
    return JSON.stringify(of.map((q) => [q.waiting, q.delayed, q.running, q.counts, q.dead_letters]));
}

export function reduceQueues(s: QueuesState, a: QueuesAction): QueuesState {
    switch (a.type) {
        case "q/state":
            return { ...s, list: a.list, at: a.at, problem: null, trend: sampled(s.trend, a.list) };
        case "q/fail":
            return { ...s, problem: a.problem };
        case "q/filter":
            return { ...s, filter: { ...s.filter, ...a.filter }, generation: s.generation + 1, jobs: [], next: null, loaded: false, jobsProblem: null };
        case "q/jobs/start":
            return { ...s, loading: true };
        case "q/jobs":
            if (a.generation !== s.generation) return s;
            return { ...s, loading: false, loaded: true, jobsProblem: null, ...(a.more ? { next: a.next, jobs: joined(s.jobs, a.jobs) } : reread(s.jobs, a)) };
        case "q/jobs/fail":
            return a.generation === s.generation ? { ...s, loading: false, jobsProblem: a.problem } : s;
        case "q/position":
            return positioned(s, a.position);
        case "q/open":
            return { ...s, open: a.id, job: s.jobs.find((j) => j.jobId === a.id) ?? null, jobProblem: null };
        case "q/job":
            return s.open === a.job.jobId ? { ...s, job: a.job, jobProblem: null } : s;
        case "q/job/fail":
            return s.open === a.id ? { ...s, jobProblem: a.problem } : s;
        case "q/ask":
            return { ...s, asking: a.asking };
    }
}

function sampled(trend: QueuesState["trend"], list: readonly Queue[]): QueuesState["trend"] {
    const next: Record<string, readonly number[]> = {};
    for (const q of list) next[q.service] = [...(own(trend, q.service) ?? []), q.throughput.s10].slice(-TREND);
    return next;
}

function joined(old: readonly Job[], more: readonly Job[]): readonly Job[] {
    const known = new Set(old.map((j) => j.jobId));
    return [...old, ...more.filter((j) => !known.has(j.jobId))];
}

/** One answer may be shorter than the list: what is behind it stays, and the list as long as it was. */
function reread(old: readonly Job[], { jobs, next }: Extract<QueuesAction, { type: "q/jobs" }>): Pick<QueuesState, "jobs" | "next"> {
    const all = [...jobs, ...old.filter((j) => next && j.jobId < next)].slice(0, Math.max(old.length, jobs.length));
    return { jobs: all, next: all.length > jobs.length ? all.at(-1)!.jobId : next };
}

/** A position goes to the list and to the open job, too; an ended job has none to keep. */
function positioned(s: QueuesState, p: Position): QueuesState {
    const positions = { ...s.positions };
    delete positions[p.jobId];
    if (unfinished(p.status)) positions[p.jobId] = p;
    const keys = Object.keys(positions);
    if (keys.length > POSITIONS) delete positions[keys[0]!];
    const moved = (j: Job): Job => (j.jobId === p.jobId && p.status !== null ? { ...j, ...p, status: p.status } : j);
    return { ...s, positions, jobs: s.jobs.some((j) => j.jobId === p.jobId) ? s.jobs.map(moved) : s.jobs, job: s.job && moved(s.job) };
}
